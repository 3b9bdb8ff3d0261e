"""Where a model trains and in which precision."""

import ctypes
import gc
import os
import time
from functools import cache

import torch

from hybridtune.data.schema import InputError
from hybridtune.models.hardware import DeviceChoice, Hardware, Precision, memory_fraction

PRODUCT, PRODUCTS = 512, 20
"""Rows and columns of the matrices, and how often they are multiplied."""
WORTHWHILE = 1.2
"""As bf16 is the less exact. Those seen so far gained 0.5, 2.1 or more: none is near."""


def pick(hardware: Hardware) -> tuple[torch.device, Precision]:
    """auto: CUDA for who was given a GPU, else the CPU, and the precision that is fastest there.
    Apple's GPU is taken by those alone who ask for it, see models.first_step.

    Raises InputError if what was asked for is not there.
    """
    kind = pick_device(hardware.device, hardware.has_gpu)
    # The first of those that this process may see, which for a worker are its own. Torch limits memory by number only.
    device = torch.device(kind, 0) if kind == "cuda" else torch.device(kind)
    return device, best_precision(device) if hardware.precision == "auto" else hardware.precision


def best_precision(device: torch.device) -> Precision:
    """The fastest: bf16 on a CPU that multiplies faster in it, else fp32. On a GPU LSTMs are fp32 whatever was asked
    for (layers.LSTM), and to cast around them costs more than it saves.
    """
    return "bf16" if device.type == "cpu" and has_bf16(device) and bf16_gain() >= WORTHWHILE else "fp32"


@cache
def bf16_gain() -> float:
    """How many times as fast the CPU multiplies in bf16. Some that have it are slower in it than in fp32."""
    seconds = {}
    for kind in (torch.float32, torch.bfloat16):
        a, b = (torch.ones(PRODUCT, PRODUCT, dtype=kind) for _ in range(2))
        times = []
        for _ in range(PRODUCTS):
            started = time.perf_counter()
            a @ b
            times.append(time.perf_counter() - started)
        # Others may have had the core for a while.
        seconds[kind] = min(times)
    return seconds[torch.float32] / seconds[torch.bfloat16]


def has_bf16(device: torch.device) -> bool:
    """Whether it multiplies it natively."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def limit_gpu_memory(device: torch.device, gpus: float) -> None:
    """Trainings that share a GPU each get their part of its memory: one that wants more is refused it, and not its
    neighbours. gpus: that this process was given.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(memory_fraction(gpus, total), device)


def device_name(device: torch.device) -> str:
    """As a person would say it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def use_one_core() -> None:
    """Prepares this process to train on the CPU beside others.

    Gradients of a long LSTM decay into denormal floats, which run an order of magnitude slower unless they
    are flushed to zero; threads of several trials that contend for the same cores cost even more.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)


def free_memory() -> None:
    """Gives back what no tensor holds any more: PyTorch's cache to the GPU, freed buffers to the system."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    # glibc alone has it, and it alone was told to keep them: worker_environment.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def worker_environment() -> dict[str, str]:
    """Environment of a process that trains: one thread; freed buffers kept instead of given back to the system after
    every step (glibc; their page faults cost about 40%); and the workspace with which cuBLAS gives LSTMs on a GPU the
    same sums each time (PyTorch's notes on nn.LSTM).
    """
    unless_given = {
        "MALLOC_MMAP_THRESHOLD_": str(2**32),
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "MALLOC_TOP_PAD_": str(2**28),
        "CUBLAS_WORKSPACE_CONFIG": ":4096:2",
    }
    return {"OMP_NUM_THREADS": "1"} | {name: os.environ.get(name, value) for name, value in unless_given.items()}


def pick_device(choice: DeviceChoice, has_gpu: bool) -> str:
    """Raises InputError if what was asked for is not there."""
    if choice == "cuda" and not has_gpu:
        raise InputError("device cuda needs a GPU for each trial: give --gpus-per-trial, for example 0.5")
    if choice == "mps" and not torch.backends.mps.is_available():
        raise InputError("device mps needs Apple silicon, this machine has none: use --device auto")
    if choice != "auto":
        return choice
    return "cuda" if has_gpu else "cpu"
