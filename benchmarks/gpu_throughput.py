"""Claim: none yet; it measures. Where a GPU is at hand: what one trains, and the batch at which it is saturated.

The arms of benchmarks.train_throughput on the GPU, the same model, batches and step, over growing batches. The time of
a step is that between two CUDA events around it, building the batch and its copy included; the median of the steps
after the warm-up. A batch saturates the device if no larger one brings a tenth more samples a second. Without a GPU
it says so, and exits with 0; --device cpu --quick runs the same code as a smoke test.

Shapes: M series, T minutes, K anchors, F features.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from benchmarks.machine import cpu_name
from benchmarks.per_sample import PerSampleHybrid, expanding_samples
from benchmarks.train_throughput import HISTORY, LOSS, SEED, TRAIN, draw_batch, hybrid, new_optimizer, random_walks
from hybridtune.models.hardware import Precision
from hybridtune.models.inference import forward

DeviceName = Literal["cuda", "cpu"]

BATCHES = (64, 128, 256, 512, 1024, 2048, 4096)
PER_SAMPLE_BATCHES = (8, 16, 32, 64, 128)
WARMUP, STEPS = 5, 20
SATURATED = 1.1
ARMS: dict[str, tuple[bool, Precision]] = {
    "per_sample_fused_fp32": (False, "fp32"),
    "ours_fp32": (True, "fp32"),
    "ours_bf16": (True, "bf16"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="two small batches, one step")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(json.dumps({"benchmark": "gpu_throughput", "measured": False, "why": "no CUDA device on this machine"}))
        return
    device = torch.device(arguments.device)
    print(json.dumps(measure(device, arguments.quick)))


def measure(device: torch.device, quick: bool) -> dict[str, object]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()
    arms = {}
    for arm, (ours, precision) in ARMS.items():
        batches = (BATCHES if ours else PER_SAMPLE_BATCHES)[: 2 if quick else None]
        steps = {anchors: milliseconds(device, ours, precision, anchors, quick) for anchors in batches}
        speed = {anchors: anchors / step * 1e3 for anchors, step in steps.items() if step is not None}
        arms[arm] = {
            "milliseconds_per_step": {anchors: round(step, 2) for anchors, step in steps.items() if step is not None},
            "samples_per_second": {anchors: round(value) for anchors, value in speed.items()},
            "saturating_batch": saturating(speed),
        }
    return {"benchmark": "gpu_throughput", "measured": True, "device": name, "torch": torch.__version__, "arms": arms}


def saturating(speed: dict[int, float]) -> int | None:
    """The smallest batch that no larger one beats by a tenth; None if that is the largest, which may not be enough."""
    sizes = sorted(speed)
    smallest = next(size for size in sizes if max(speed[s] for s in sizes if s >= size) < SATURATED * speed[size])
    return None if smallest == sizes[-1] else smallest


def milliseconds(device: torch.device, ours: bool, precision: Precision, anchors: int, quick: bool) -> float | None:
    """Median time of a step; None if it does not fit into the device's memory."""
    step = make_step(device, ours, precision, anchors)
    try:
        times = [timed(step, device) for _ in range(2 if quick else WARMUP + STEPS)]
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    return statistics.median(times[1:] if quick else times[WARMUP:])


def timed(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cpu":
        started = time.perf_counter()
        step()
        return (time.perf_counter() - started) * 1e3
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    step()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def make_step(device: torch.device, ours: bool, precision: Precision, anchors: int) -> Callable[[], None]:
    """Ours draws 16 anchors of each series, as training does; the rival's samples are each of another series."""
    walks_MTF = random_walks()
    model = hybrid(walks_MTF).to(device)
    rival = PerSampleHybrid(model, HISTORY, keep_weights=False).to(device).train()
    optimizer = new_optimizer(model)
    rng = np.random.default_rng(SEED)
    per_series = TRAIN.anchors_per_series if ours else 1

    def step() -> None:
        batch = draw_batch(walks_MTF, rng, anchors // per_series, per_series)
        if ours:
            logits, y = forward(model, batch, device, precision), batch.y_MKH
        else:
            x_NTF, last_N = (torch.from_numpy(values).to(device) for values in expanding_samples(batch, HISTORY))
            logits, y = rival(x_NTF, last_N), batch.y_MKH[batch.valid_MK]
        optimizer.zero_grad(set_to_none=True)
        loss = LOSS.summed(logits, torch.from_numpy(y).to(device)) / int((y >= 0).sum())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), TRAIN.gradient_clip)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
