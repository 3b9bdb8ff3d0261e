"""Claim: one core trains the default hybrid at 45% of its peak in fp32 and at 25% in bf16, in 1.5 GB of memory.

The roofline of a training step: samples a second, operations a sample, and the fraction of the core's peak that they
reach. Beside it what our operations save: the samples a second of a per-sample implementation, as people write it at
first.

Both have the same weights and give the same logits: `max_logit_difference` in float32 and eval mode. A step
is forward, masked loss, backward, gradient clipping and AdamW, in train mode with dropout, on random-walk
features and random anchors. Every arm runs in fresh processes pinned to the same one core, with one thread:

- per_sample: benchmarks.per_sample, as one would run it, with torch.nn.MultiheadAttention's default of keeping
  the attention weights;
- per_sample_flush_denormal: the same with torch.set_flush_denormal(True);
- per_sample_fused: the same with the fused attention kernel, the strongest rival;
- ours_fp32, ours_bf16: the hybrid prepared as a trial is (models.device), bf16 where the core has it.

Measured: samples a second of CPU time (user and system, building batches included), the median of rounds
that interleave the arms; the peak resident memory of the process; and the fraction of the core's peak (a
2048 x 2048 x 2048 product in the arm's precision) that the arm's own operations reach.

Operations follow from the shapes, a multiply-add as two; only products of matrices count:

    LSTM over L steps                 L * 8D(F + D)
    attention of Q queries, J keys    (4Q + 4J) D^2 for its four projections, 4QJD for its two products
    fusion and heads of an anchor     4D^2 + HD^2 + HD

Ours, a series:        L = T + the windows' runs;      Q = K, J = T; then for each anchor Q = 1, J = S
Per sample, an anchor: L = T + sum of the windows;     Q = T, J = T; then                Q = 1, J = S

The runs of a window of W minutes: min(K, 1 + (T - W) / (W // 2)), rounded up, of W steps each (layers.WindowEncoder).
A training step counts as three forward passes. What a mask hides counts in full. T is the longest history of
the batch in ours, 720 in the other.

Shapes: M series, T minutes, K anchors of a series, F features, H horizons, D hidden, S windows, N = M * K.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.machine import cpu_name
from benchmarks.per_sample import PerSampleHybrid, expanding_samples
from hybridtune.data.batches import Batch
from hybridtune.data.schema import DEFAULT_EXPANDING_MAX, DEFAULT_EXPANDING_MIN, DEFAULT_HORIZONS, MASKED
from hybridtune.models.architectures.hybrid_lstm import HybridLSTM
from hybridtune.models.architectures.registry import build_model
from hybridtune.models.device import has_bf16, use_one_core, worker_environment
from hybridtune.models.hardware import Precision
from hybridtune.models.inference import forward
from hybridtune.models.training.config import TrainConfig
from hybridtune.models.training.loss import Loss
from hybridtune.models.training.optimizer import make_optimizer

CLAIMS = {"fp32_of_peak": 0.45, "bf16_of_peak": 0.25}
"""At least so much."""
CLAIMED_MEMORY_MB = 1500
LOGIT_TOLERANCE = 1e-5
CONFIG = HybridLSTM.Config(input_size=24, horizons=len(DEFAULT_HORIZONS))
HISTORY = DEFAULT_EXPANDING_MAX
TRAIN = TrainConfig()
LOSS = Loss("cross_entropy", None)
CPU = torch.device("cpu")
SEED = 7
WALKS = 32
"""Series that the batches draw from."""
REFERENCE = "reference"
"""The part that measures what the arms are held against: the core's peak and the logits."""
PEAK_SIZE = 2048
"""Rows and columns of the product whose speed is the core's peak."""


@dataclass(frozen=True)
class Arm:
    ours: bool
    precision: Precision = "fp32"
    flush_denormal: bool = True
    keep_weights: bool = True


ARMS = {
    "per_sample": Arm(ours=False, flush_denormal=False),
    "per_sample_flush_denormal": Arm(ours=False),
    "per_sample_fused": Arm(ours=False, keep_weights=False),
    "ours_fp32": Arm(ours=True),
    "ours_bf16": Arm(ours=True, precision="bf16"),
}


@dataclass(frozen=True)
class Budget:
    """How long an arm is measured: so many CPU seconds, and no fewer than so many steps."""

    cpu_seconds: float
    steps: int
    warmup_steps: int


@dataclass(frozen=True)
class Plan:
    rounds: int
    ours: Budget
    per_sample: Budget
    per_sample_anchors: int
    """Of one step; the slow arm's speed does not grow with it."""


FULL = Plan(2, ours=Budget(8.0, 2, 3), per_sample=Budget(15.0, 2, 1), per_sample_anchors=8)
QUICK = Plan(1, ours=Budget(1.0, 1, 1), per_sample=Budget(0.0, 1, 1), per_sample_anchors=2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run; its numbers are rough")
    parser.add_argument("--part", choices=[*ARMS, REFERENCE], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    result = run_part(arguments.part, plan) if arguments.part else measure_all(plan)
    print(json.dumps(result))


def measure_all(plan: Plan) -> dict[str, object]:
    """All arms, each part of each round in a process of its own."""
    names = [name for name, arm in ARMS.items() if arm.precision == "fp32" or has_bf16(CPU)]
    rounds = [{part: spawn(part, plan) for part in [REFERENCE, *names]} for _ in range(plan.rounds)]
    reference = {key: max(parts[REFERENCE][key] for parts in rounds) for key in rounds[0][REFERENCE]}
    arms = {name: summarise([parts[name] for parts in rounds], reference[ARMS[name].precision]) for name in names}
    speed = {name: arm["samples_per_cpu_second"] for name, arm in arms.items()}
    return {
        "benchmark": "train_throughput",
        "machine": {"cpu": cpu_name(), "torch": torch.__version__},
        "peak_gflop_per_cpu_second": {
            kind: round(reference[kind] / 1e9, 1) for kind in ("fp32", "bf16") if kind in reference
        },
        "arms": arms,
        "ratio": round(speed["ours_fp32"] / speed["per_sample"], 1),
        "ratio_bf16": round(speed["ours_bf16"] / speed["per_sample"], 1) if "ours_bf16" in speed else None,
        "ratio_flush_denormal": round(speed["ours_fp32"] / speed["per_sample_flush_denormal"], 1),
        "ratio_fused": round(speed["ours_fp32"] / speed["per_sample_fused"], 1),
        "max_logit_difference": reference["max_logit_difference"],
        "claims": CLAIMS | {"peak_memory_mb": CLAIMED_MEMORY_MB},
        "holds": {
            "fp32_of_peak": arms["ours_fp32"]["fraction_of_peak"] >= CLAIMS["fp32_of_peak"],
            "bf16_of_peak": arms["ours_bf16"]["fraction_of_peak"] >= CLAIMS["bf16_of_peak"]
            if "ours_bf16" in arms
            else None,
            "peak_memory_mb": arms["ours_fp32"]["peak_memory_mb"] <= CLAIMED_MEMORY_MB,
        },
    }


def summarise(rounds: list[dict[str, float]], peak: float) -> dict[str, float]:
    """The median of what run_arm gave in each round. peak: operations a CPU second."""
    middle = {key: statistics.median(result[key] for result in rounds) for key in rounds[0]}
    speed = middle["samples_per_cpu_second"]
    return {
        "samples_per_cpu_second": round(speed, 2),
        "mega_operations_per_sample": round(middle["operations_per_sample"] / 1e6, 1),
        "peak_memory_mb": round(middle["peak_memory_mb"]),
        "fraction_of_peak": round(speed * middle["operations_per_sample"] / peak, 4),
    }


def spawn(part: str, plan: Plan) -> dict[str, float]:
    """Runs a part in a fresh process. The rival's arms get no settings for the allocator."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    per_sample = part in ARMS and not ARMS[part].ours
    environment = plain | ({"OMP_NUM_THREADS": "1"} if per_sample else worker_environment())
    command = [sys.executable, "-m", "benchmarks.train_throughput", "--part", part]
    if plan is QUICK:
        command.append("--quick")
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    print(f"{part}: {done.stdout.decode().strip()}", file=sys.stderr, flush=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run_part(part: str, plan: Plan) -> dict[str, float]:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if part == REFERENCE:
        use_one_core()
        difference = max_logit_difference()
        assert difference <= LOGIT_TOLERANCE, f"the arms disagree: logits differ by {difference}"
        peaks = {"fp32": matmul_peak(torch.float32)}
        # Emulated it would take minutes.
        if has_bf16(CPU):
            peaks["bf16"] = matmul_peak(torch.bfloat16)
        return {"max_logit_difference": difference, **peaks}
    return run_arm(ARMS[part], plan)


def run_arm(arm: Arm, plan: Plan) -> dict[str, float]:
    """Trains one arm for its CPU time; what a sample costs and what the process held at most."""
    if arm.ours:
        use_one_core()
    else:
        torch.set_flush_denormal(arm.flush_denormal)
    walks_MTF = random_walks()
    model = hybrid(walks_MTF)
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    budget = plan.ours if arm.ours else plan.per_sample
    if arm.ours:
        step = our_step(model, walks_MTF, rng, arm.precision)
    else:
        step = rival_step(PerSampleHybrid(model, HISTORY, arm.keep_weights), walks_MTF, rng, plan.per_sample_anchors)
    for _ in range(budget.warmup_steps):
        step()
    steps, samples, operations = 0, 0, 0.0
    started = time.process_time()
    while steps < budget.steps or time.process_time() - started < budget.cpu_seconds:
        batch = step()
        steps += 1
        samples += batch.anchor_MK.size
        operations += our_operations(batch) if arm.ours else rival_operations(batch)
    spent = time.process_time() - started
    return {
        "samples_per_cpu_second": samples / spent,
        "operations_per_sample": operations / samples,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "samples": samples,
    }


def our_step(
    model: HybridLSTM, walks_MTF: NDArray[np.float32], rng: np.random.Generator, precision: Precision
) -> Callable[[], Batch]:
    """Draws a batch as training does (anchors of a series share a pass) and takes the step of models.training.fit."""
    optimizer = new_optimizer(model)
    series = TRAIN.batch_size // TRAIN.anchors_per_series

    def step() -> Batch:
        batch = draw_batch(walks_MTF, rng, series, TRAIN.anchors_per_series)
        learn(model, optimizer, forward(model, batch, CPU, precision), batch.y_MKH)
        return batch

    return step


def rival_step(
    rival: PerSampleHybrid, walks_MTF: NDArray[np.float32], rng: np.random.Generator, anchors: int
) -> Callable[[], Batch]:
    """Draws samples as a shuffled loader does (each of another series) and takes the same step."""
    rival.train()
    optimizer = new_optimizer(rival.hybrid)

    def step() -> Batch:
        batch = draw_batch(walks_MTF, rng, anchors, 1)
        x_NTF, last_N = (torch.from_numpy(values) for values in expanding_samples(batch, HISTORY))
        learn(rival.hybrid, optimizer, rival(x_NTF, last_N), batch.y_MKH[batch.valid_MK])
        return batch

    return step


def new_optimizer(model: HybridLSTM) -> torch.optim.AdamW:
    return make_optimizer(model, TRAIN.learning_rate, TRAIN.weight_decay)


def learn(model: HybridLSTM, optimizer: torch.optim.AdamW, logits: Tensor, y: NDArray[np.int8]) -> None:
    """What Training of models.training.fit does with a batch's logits."""
    loss = LOSS.summed(logits, torch.from_numpy(y)) / int((y >= 0).sum())
    assert np.isfinite(loss.item())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), TRAIN.gradient_clip)
    optimizer.step()


def hybrid(walks_MTF: NDArray[np.float32]) -> HybridLSTM:
    """The default model in train mode, its scaling fitted; an embedding of zeros could hide a difference."""
    model = build_model(CONFIG, SEED)
    assert isinstance(model, HybridLSTM)
    model.scaling.fit(walks_MTF.reshape(-1, CONFIG.input_size))
    nn.init.normal_(model.window_embedding_SD, std=0.1, generator=torch.Generator().manual_seed(SEED))
    return model.train()


def random_walks() -> NDArray[np.float32]:
    """x_MTF: steps of 1% a minute, as log prices of launches move."""
    steps_MTF = np.random.default_rng(SEED).normal(scale=0.01, size=(WALKS, HISTORY, CONFIG.input_size))
    return steps_MTF.cumsum(axis=1).astype(np.float32)


def draw_batch(walks_MTF: NDArray[np.float32], rng: np.random.Generator, series: int, anchors: int) -> Batch:
    """As data.batches makes one: bars up to the last anchor, then zeros. A tenth of the labels is unknown."""
    usable = np.arange(DEFAULT_EXPANDING_MIN - 1, HISTORY)
    anchor_MK = np.stack([np.sort(rng.choice(usable, anchors, replace=False)) for _ in range(series)])
    length_M = anchor_MK[:, -1] + 1
    x_MTF = walks_MTF[rng.choice(len(walks_MTF), series, replace=series > len(walks_MTF)), : length_M.max()]
    x_MTF[np.arange(length_M.max()) >= length_M[:, None]] = 0
    shape = (series, anchors, CONFIG.horizons)
    y_MKH = np.where(rng.random(shape) < 0.1, MASKED, rng.integers(0, 2, shape)).astype(np.int8)
    return Batch(x_MTF, length_M, anchor_MK, y_MKH, np.ones((series, anchors), dtype=np.bool_))


@torch.inference_mode()
def max_logit_difference() -> float:
    """Largest difference of a logit between the two implementations, float32, eval mode, denormals kept."""
    walks_MTF = random_walks()
    model = hybrid(walks_MTF).eval()
    batch = draw_batch(walks_MTF, np.random.default_rng(SEED), series=4, anchors=4)
    x_NTF, last_N = (torch.from_numpy(values) for values in expanding_samples(batch, HISTORY))
    ours_NH = forward(model, batch, CPU, "fp32").flatten(0, 1)
    rivals = [PerSampleHybrid(model, HISTORY, keep_weights).eval() for keep_weights in (True, False)]
    return max(float((ours_NH - rival(x_NTF, last_N)).abs().max()) for rival in rivals)


def matmul_peak(kind: torch.dtype, products: int = 8) -> float:
    """Operations a CPU second of the fastest of some large matrix products."""
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(kind) for _ in range(2))
    fastest = float("inf")
    for _ in range(products):
        started = time.process_time()
        a @ b
        fastest = min(fastest, time.process_time() - started)
    return 2.0 * float(PEAK_SIZE) ** 3 / fastest


def our_operations(batch: Batch) -> float:
    """Of a training step on the batch; see the top of this file."""
    minutes = batch.x_MTF.shape[1]
    series, anchors = batch.anchor_MK.shape
    steps = minutes + sum(run_minutes(window, minutes, anchors) for window in CONFIG.windows)
    shared = lstm_operations(steps) + attention_operations(anchors, minutes)
    return float(3 * series * (shared + anchors * anchor_operations()))


def run_minutes(window: int, minutes: int, anchors: int) -> int:
    """Of all runs over the window that a series needs."""
    every = 1 + -(-max(0, minutes - window) // max(1, window // 2))
    return min(anchors, every) * min(window, minutes)


def rival_operations(batch: Batch) -> float:
    sample = lstm_operations(HISTORY + sum(CONFIG.windows)) + attention_operations(HISTORY, HISTORY)
    return 3.0 * batch.anchor_MK.size * (sample + anchor_operations())


def lstm_operations(steps: int) -> int:
    return steps * 8 * CONFIG.hidden_size * (CONFIG.input_size + CONFIG.hidden_size)


def attention_operations(queries: int, keys: int) -> int:
    size = CONFIG.hidden_size
    return (4 * queries + 4 * keys) * size**2 + 4 * queries * keys * size


def anchor_operations() -> int:
    """Cross-attention over the windows, fusion and heads."""
    size, horizons = CONFIG.hidden_size, CONFIG.horizons
    fusion_and_heads = (4 + horizons) * size**2 + horizons * size
    return attention_operations(1, len(CONFIG.windows)) + fusion_and_heads


if __name__ == "__main__":
    main()
