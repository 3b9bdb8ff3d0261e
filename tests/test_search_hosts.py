"""Which hosts of a cluster can train, and why one cannot."""

import pytest

from hybridtune.data.schema import InputError
from hybridtune.search.cluster.hosts import (
    Host,
    HostHardware,
    common_precision,
    hardware_problem,
    installation_problem,
    missing_room,
    usable,
)

HERE = {
    "python": "3.11.9",
    "hybridtune": "0.1.0",
    "torch": "2.13.0+cpu",
    "ray": "2.60.0",
    "code": "abc",
    "clock": "1000000.0",
}


def host(cpus: float = 4, gpus: float = 0, number: int = 11) -> Host:
    return Host(f"node{number}", f"10.99.0.{number}", "worker", cpus, gpus)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hybridtune": ""}, "it has no hybridtune: install hybridtune 0.1.0 there"),
        ({"torch": ""}, "it has no torch: install torch 2.13.0+cpu there"),
        ({"torch": "2.12.1+cpu"}, "it has torch 2.12.1+cpu, this is 2.13.0+cpu: install the same on every host"),
        ({"ray": "2.59.0"}, "it has ray 2.59.0, this is 2.60.0"),
        ({"python": "3.12.1"}, "it has python 3.12.1, this is 3.11.9"),
        ({"hybridtune": "0.2.0"}, "it has hybridtune 0.2.0, this is 0.1.0"),
        ({"code": "abd"}, "its hybridtune 0.1.0 is not this one (code abd and abc): install the same wheel"),
        ({"clock": "1003600.0"}, "its clock is 60 minutes ahead: set it"),
        ({"clock": "996400.0"}, "its clock is 60 minutes slow: set it"),
    ],
)
def test_another_installation_is_said_with_its_remedy(changes: dict[str, str], problem: str) -> None:
    found = installation_problem(HERE | changes, HERE)
    assert found is not None
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "changes", [{}, {"torch": "2.13.0+cu130"}, {"python": "3.11.2"}, {"clock": "1000200.0"}, {"clock": "999800.0"}]
)
def test_what_makes_no_difference_is_let_pass(changes: dict[str, str]) -> None:
    assert installation_problem(HERE | changes, HERE) is None


@pytest.mark.parametrize(
    ("cpus", "gpus", "gpus_per_trial", "trials"),
    [
        (4, 0, 0, 4),
        (4, 1, 0.25, 4),
        (4, 1, 0.3, 3),
        (2, 4, 1, 2),
        (8, 0, 1, 0),
        (0, 8, 1, 0),
        (1, 1, 0.1, 1),
        (16, 1, 0.1, 10),
        (16, 4, 0.6, 4),  # nobody has the rests of two cards
        (16, 2, 0.4, 4),
    ],
)
def test_a_trial_takes_a_core_and_its_gpus(cpus: float, gpus: float, gpus_per_trial: float, trials: int) -> None:
    assert host(cpus, gpus).trials(gpus_per_trial) == trials


def test_hosts_without_room_for_a_trial_are_left_out() -> None:
    head, worker = host(cpus=0, number=1), host(gpus=1)
    assert usable([head, worker], gpus_per_trial=0.5) == [worker]
    with pytest.raises(InputError, match=r"no host of the cluster has a CPU and a GPU for a trial \(10.99.0.1: 0 CPUs"):
        usable([head], gpus_per_trial=1)
    with pytest.raises(InputError, match=r"has a CPU and 0.5 of a GPU for a trial"):
        usable([head], gpus_per_trial=0.5)
    with pytest.raises(InputError, match="has a CPU for a trial"):
        usable([head], gpus_per_trial=0)


def test_all_trials_run_in_the_precision_that_is_fastest_on_every_host() -> None:
    old = HostHardware(1, cpu_bf16=False, cpu_best="fp32", cuda_bf16=True)
    new = HostHardware(1, cpu_bf16=True, cpu_best="bf16", cuda_bf16=True)
    slow = HostHardware(1, cpu_bf16=True, cpu_best="fp32", cuda_bf16=True)
    mixed = {host(number=11): new, host(number=12): old}
    assert common_precision(mixed, "auto", "auto", gpus_per_trial=0) == "fp32"
    # cuDNN's LSTMs are not run in bf16.
    assert common_precision(mixed, "auto", "auto", gpus_per_trial=1) == "fp32"
    assert common_precision(mixed, "bf16", "auto", gpus_per_trial=1) == "bf16"
    assert common_precision(mixed, "auto", "cpu", gpus_per_trial=1) == "fp32"
    assert common_precision({host(): new}, "auto", "auto", gpus_per_trial=0) == "bf16"
    assert common_precision({host(): new}, "fp32", "auto", gpus_per_trial=0) == "fp32"
    assert common_precision({host(number=11): new, host(number=12): slow}, "auto", "auto", gpus_per_trial=0) == "fp32"
    assert common_precision({host(number=11): new, host(number=12): slow}, "bf16", "auto", gpus_per_trial=0) == "bf16"
    with pytest.raises(InputError, match=r"host 10.99.0.12 \(worker\) has no native bf16: use --precision fp32"):
        common_precision(mixed, "bf16", "auto", gpus_per_trial=0)


def test_gpus_that_only_ray_counts_are_no_gpus() -> None:
    blind = HostHardware(0, cpu_bf16=True, cpu_best="bf16", cuda_bf16=False)
    problem = hardware_problem(host(gpus=2), blind, "auto", gpus_per_trial=1)
    assert problem is not None
    assert problem.startswith("Ray counts 2 GPUs there, PyTorch sees none: install a CUDA build")
    # Where trials do not use them, they may be there for counting.
    assert hardware_problem(host(gpus=2), blind, "cpu", gpus_per_trial=1) is None
    assert hardware_problem(host(gpus=2), blind, "auto", gpus_per_trial=0) is None


@pytest.mark.parametrize(
    ("wanted", "concurrent", "there", "missing"),
    [
        (20, None, 4, 16),
        (20, 8, 4, 4),
        (20, 4, 4, 0),
        (20, 2, 4, 0),
        (3, 8, 2, 1),  # the end of a search needs fewer hosts
        (1, None, 4, 0),
        (0, None, 0, 0),
    ],
)
def test_hosts_are_missing_for_the_trainings_that_may_run_and_have_no_room(
    wanted: int, concurrent: int | None, there: int, missing: int
) -> None:
    assert missing_room(wanted, concurrent, there) == missing
