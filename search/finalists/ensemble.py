"""ensemble.json: the blending method that was chosen, its weights, and what every method scored."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from hybridtune.data.document import Document
from hybridtune.models.bundle.calibration import Calibration
from hybridtune.models.score import HorizonMetrics
from hybridtune.search.finalists.members import MEMBER, MemberDocument, Role
from hybridtune.search.run.run_dir import RunDir


class MethodResult(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    cross_validated_log_loss: float
    """On the blend slice; the lowest chooses the method."""
    weights: dict[str, tuple[float, ...]]
    """Member -> weight for each horizon; they sum to one over the members."""
    blend: tuple[HorizonMetrics, ...]
    test: tuple[HorizonMetrics, ...]


class EnsembleDocument(Document):
    """ensemble.json"""

    current_version: ClassVar[int] = 4

    version: int = 4
    horizons: tuple[int, ...]
    method: str
    methods: dict[str, MethodResult]
    """Before calibration."""
    calibration: tuple[Calibration, ...]
    """Of the ensemble, for each horizon."""
    calibration_losses: dict[str, tuple[float, ...]]
    """Kind of calibration -> cross-validated log loss on the blend slice for each horizon; the lowest is chosen. Empty
    where there is but one series."""
    blend: tuple[HorizonMetrics, ...]
    test: tuple[HorizonMetrics, ...]
    """Of the ensemble as it predicts, calibrated."""
    best_single: str
    """The member with the lowest log loss on the blend slice."""
    members: dict[str, str]
    """Member -> where its configuration is from."""
    roles: dict[str, tuple[Role, ...]]
    architectures: dict[str, str]
    left_out: dict[str, str]
    """Members whose loss was not finite -> what happened."""
    configurations_tried: int


def blended_members(run: RunDir, ensemble: EnsembleDocument) -> list[MemberDocument]:
    """The members of this ensemble. While the search is extended, others are trained beside them."""
    return [MemberDocument.read(run.member(member_id) / MEMBER) for member_id in ensemble.members]
