import pytest
import torch

from hybridtune.models.device import pick
from hybridtune.models.hardware import Hardware, memory_fraction

GIB = 2**30


@pytest.mark.parametrize(
    ("gpus", "gpu_gib", "gib"),
    [(1.0, 80, 80), (2.0, 80, 80), (0.5, 80, 39.4), (0.25, 24, 5.4), (0.05, 8, 0.2)],
)
def test_trainings_that_share_a_gpu_fit_into_it_with_their_cuda_contexts(
    gpus: float, gpu_gib: float, gib: float
) -> None:
    fraction = memory_fraction(gpus, int(gpu_gib * GIB))
    assert fraction * gpu_gib == pytest.approx(gib, abs=0.05)


def test_a_training_is_told_which_gpu_is_its_own() -> None:
    # Torch limits the memory of a numbered device only: of "cuda" alone it refuses to, and no trial would start.
    device, _ = pick(Hardware(gpus=0.5, precision="fp32"))
    assert device == torch.device("cuda", 0)
