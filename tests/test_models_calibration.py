"""A calibration keeps the order of probabilities and refuses to be anything else."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from hybridtune.models.bundle.calibration import Calibration, calibrated

CALIBRATIONS = [
    Calibration(),
    Calibration(kind="temperature", temperature=0.05),
    Calibration(kind="temperature", temperature=20.0),
    Calibration(kind="isotonic", thresholds=(0.2, 0.4, 0.7), values=(0.1, 0.1, 0.9)),
]


@pytest.mark.parametrize("calibration", CALIBRATIONS)
def test_probabilities_stay_probabilities_in_their_order(calibration: Calibration) -> None:
    p_A = np.concatenate([[0.0], np.linspace(1e-9, 1 - 1e-9, 1001), [1.0]])
    meant_A = calibration.apply(p_A)
    assert (np.diff(meant_A) >= 0).all()
    assert meant_A.min() >= 0
    assert meant_A.max() <= 1


def test_a_temperature_divides_the_logit() -> None:
    p_A = np.array([0.1, 0.5, 0.8])
    cooled_A = Calibration(kind="temperature", temperature=2.0).apply(p_A)
    np.testing.assert_allclose(np.log(cooled_A / (1 - cooled_A)), np.log(p_A / (1 - p_A)) / 2)


def test_steps_are_interpolated_and_go_on_flat() -> None:
    np.testing.assert_allclose(CALIBRATIONS[3].apply(np.array([0.0, 0.3, 0.55, 1.0])), [0.1, 0.1, 0.5, 0.9])


def test_each_horizon_has_its_own() -> None:
    p_AH = np.full((3, 2), 0.8)
    np.testing.assert_allclose(calibrated(p_AH, (CALIBRATIONS[0], CALIBRATIONS[3])), [[0.8, 0.9]] * 3)
    assert calibrated(np.empty((0, 2)), (CALIBRATIONS[0], CALIBRATIONS[3])).shape == (0, 2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "platt"}, "Input should be 'none', 'temperature' or 'isotonic'"),
        ({"kind": "temperature", "temperature": 0.0}, "greater than or equal to 0.05"),
        ({"kind": "temperature", "temperature": float("nan")}, "finite number"),
        ({"kind": "isotonic"}, "as many thresholds as values"),
        ({"kind": "none", "thresholds": (0.1,), "values": (0.1,)}, "as many thresholds as values"),
        ({"kind": "isotonic", "thresholds": (0.1, 0.2), "values": (0.1,)}, "as many thresholds as values"),
        ({"kind": "isotonic", "thresholds": (0.2, 0.2), "values": (0.1, 0.3)}, "thresholds must ascend"),
        ({"kind": "isotonic", "thresholds": (0.1, 0.2), "values": (0.4, 0.3)}, "values must not descend"),
        ({"kind": "isotonic", "thresholds": (0.1, 0.2), "values": (0.4, 1.1)}, "nor leave 0 to 1"),
    ],
)
def test_what_is_no_calibration_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Calibration.model_validate(values)
