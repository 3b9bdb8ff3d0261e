"""Reports survive Tune, which adds entries of its own to the dicts it carries."""

import pytest

from hybridtune.models.training.progress import Progress
from hybridtune.search.run.trial_report import Failed, Progressed, TrialReport, report_from_tune

PROGRESS = Progress(3, 1536, 0.7, 0.68, 0.55, 0.67, seconds=1.5, micro_batch=32)
OF_TUNE = {"training_iteration": 3, "time_total_s": 4.5, "done": False, "trial_id": "x", "config": {"number": 7}}


@pytest.mark.parametrize(
    "report",
    [Progressed(PROGRESS, False, "cpu in fp32"), Progressed(PROGRESS, True, "cuda"), Failed(4, "loss nan", "cpu")],
)
def test_a_report_comes_back_from_tune_as_it_was(report: TrialReport) -> None:
    assert report_from_tune(report.to_tune() | OF_TUNE) == report


@pytest.mark.parametrize("result", [None, {}, OF_TUNE])
def test_a_result_in_which_no_training_reported_is_no_report(result: dict[str, object] | None) -> None:
    assert report_from_tune(result) is None
