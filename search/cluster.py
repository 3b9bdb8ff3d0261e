"""The Ray that a stage runs on: started for it on this machine, ended with it."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any

from data.schema import InputError

QUIET = {
    # Tune's snapshots are never restored (see sampler.py); once a day is never.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    # Our own callbacks write what is needed.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # An interrupt ends the search at once; nothing is lost by it, the study is on disk.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def refuse_missing_gpus(gpus_per_trial: float) -> None:
    """Raises InputError if a trial would wait for ever for GPUs that are not there."""
    import torch

    there = torch.cuda.device_count()
    if gpus_per_trial > there:
        raise InputError(
            f"gpus-per-trial is {gpus_per_trial:g}, this machine has {there} GPUs: ask for fewer, or 0 for the CPU"
        )


@contextmanager
def local_ray(cpus: int) -> Iterator[None]:
    """A Ray of our own on this machine, ended with the block. Never joins one that runs already."""
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    import ray

    from models.device import worker_environment

    # Ray's sockets lie below its temporary folder, and a socket's path has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="ht-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": worker_environment()},
            _temp_dir=folder,
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def process_map(processes: int) -> Iterator[Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]]:
    """A parallel map over this machine's cores that yields in order and holds few results at a time."""
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))

    def apply(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        left = iter(items)
        running: list[Future[Any]] = _submit(pool, function, islice(left, 8 * processes))
        while running:
            result = running.pop(0).result()
            running += _submit(pool, function, islice(left, 1))
            yield result

    try:
        yield apply
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any]) -> list[Future[Any]]:
    """Starts the pool's processes where they are missing. They inherit that SIGINT is blocked: Ctrl-C reaches every
    process of a terminal, and this one alone is to answer.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return [pool.submit(function, item) for item in items]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
