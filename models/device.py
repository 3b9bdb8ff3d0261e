"""Where a model trains and in which precision."""

import os
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def pick_device(use_gpu: bool) -> torch.device:
    """The GPU only for who asked for one: others may be visible that belong to other trainings."""
    return torch.device("cuda" if use_gpu else "cpu")


def best_precision(device: torch.device) -> Precision:
    """bf16 where the hardware multiplies it natively, else fp32."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def use_one_core() -> None:
    """Prepares this process to train on the CPU beside others.

    Gradients of a long LSTM decay into denormal floats, which run an order of magnitude slower unless they
    are flushed to zero; threads of several trials that contend for the same cores cost even more.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)


def worker_environment() -> dict[str, str]:
    """Environment of a process that trains: one thread, and freed buffers kept instead of given back to the
    system after every step (glibc; their page faults cost about 40%).
    """
    keep = {
        "MALLOC_MMAP_THRESHOLD_": str(2**32),
        "MALLOC_TRIM_THRESHOLD_": str(2**34),
        "MALLOC_TOP_PAD_": str(2**28),
    }
    return {"OMP_NUM_THREADS": "1"} | {name: os.environ.get(name, value) for name, value in keep.items()}
