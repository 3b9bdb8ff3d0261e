import pytest
import torch

from hybridtune.models import device
from hybridtune.models.device import best_precision, bf16_gain, has_bf16, pick
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
    picked, _ = pick(Hardware(gpus=0.5, precision="fp32"))
    assert picked == torch.device("cuda", 0)


@pytest.mark.parametrize(("gain", "precision"), [(2.1, "bf16"), (1.1, "fp32"), (0.5, "fp32")])
def test_bf16_is_taken_by_itself_where_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, gain: float, precision: str
) -> None:
    monkeypatch.setattr(device, "has_bf16", lambda of: True)
    monkeypatch.setattr(device, "bf16_gain", lambda: gain)
    assert best_precision(torch.device("cpu")) == precision
    assert best_precision(torch.device("cuda", 0)) == "fp32"
    monkeypatch.setattr(device, "has_bf16", lambda of: False)
    assert best_precision(torch.device("cpu")) == "fp32"


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this CPU has no bf16: emulated it takes too long")
def test_the_gain_of_bf16_is_that_of_products() -> None:
    bf16_gain.cache_clear()
    gain = bf16_gain()
    assert 0.1 < gain < 50
    bf16_gain.cache_clear()
    # Other work on the cores moves it, by less than would move the choice where it is clear.
    assert 1 / 2 < bf16_gain() / gain < 2
