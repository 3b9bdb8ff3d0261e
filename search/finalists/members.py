"""The finalists: which configurations are trained anew, and what is kept of each."""

from dataclasses import dataclass
from typing import Any

import optuna
from safetensors.torch import load_file

from hybridtune.data.document import Document
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.score import HorizonMetrics
from hybridtune.models.training.progress import Progress
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.study import best_first, config_of, open_study
from hybridtune.spaces.load import SHIPPED
from hybridtune.spaces.parameters import Config
from hybridtune.spaces.trial_config import Shape

WEIGHTS, MEMBER, FAILED = "model.safetensors", "member.json", "failed.json"


@dataclass(frozen=True)
class MemberSpec:
    id: str
    origin: str
    """Where the configuration is from, for people."""
    flat: Config
    seed: int


class MemberDocument(Document):
    """member.json"""

    id: str
    origin: str
    flat: Config
    seed: int
    architecture: str
    model: dict[str, Any]
    """What the architecture's Config is made from."""
    curve: tuple[Progress, ...]
    tune: tuple[HorizonMetrics, ...]
    """Per horizon, on the tune slice that also chose the configuration: optimistic."""


class FailedMember(Document):
    """failed.json, in place of member.json: trained anew it would only fail again."""

    id: str
    origin: str
    failure: str


def choose_members(study: optuna.Study, settings: Settings, shape: Shape) -> list[MemberSpec]:
    """The guide's default and the best basic LSTM, once each, for comparison and as voices of their own; then the
    top-k distinct configurations that were trained to their end, `seeds` times each.
    """
    finalists = [(f"trial {t.number}", config_of(t)) for t in best_first(study)[: settings.top_k]]
    baselines = [("guide default", settings.space.default()), _best_basic(study, shape)]
    chosen: list[tuple[str, Config, int]] = []
    for origin, flat in baselines:
        if all(flat != other for _, other in finalists) and all(flat != other for _, other, _ in chosen):
            chosen.append((origin, flat, 0))
    chosen += [(origin, flat, seed) for origin, flat in finalists for seed in range(settings.seeds)]
    return [
        # Seeds of the members are not those of the search, whose luck chose the configurations.
        MemberSpec(f"{origin.replace(' ', '-').lower()}-seed-{seed}", origin, flat, settings.seed + 1 + seed)
        for origin, flat, seed in chosen
    ]


def _best_basic(study: optuna.Study, shape: Shape) -> tuple[str, Config]:
    """Of the search; where that has none, the basic LSTM's default, its window cut where no series is so long, as a
    search must not end for that.
    """
    found = (trial for trial in best_first(study) if trial.params.get("architecture") == "basic_lstm")
    if (best := next(found, None)) is not None:
        return f"trial {best.number}", config_of(best)
    default = SHIPPED["basic"].default()
    return "basic LSTM", default | {"window": min(int(default["window"]), shape.history)}


def members(run: RunDir) -> list[MemberDocument]:
    """Every trained member, in the order in which they were chosen."""
    paths = [run.member(spec.id) / MEMBER for spec in wanted_members(run)]
    return [MemberDocument.read(path) for path in paths if path.exists()]


def failed_members(run: RunDir) -> list[FailedMember]:
    """Those that were chosen and are left out, as their loss was not finite."""
    paths = [run.member(spec.id) / FAILED for spec in wanted_members(run)]
    return [FailedMember.read(path) for path in paths if path.exists()]


def has_ended(run: RunDir, spec: MemberSpec) -> bool:
    return any((run.member(spec.id) / name).exists() for name in (MEMBER, FAILED))


def wanted_members(run: RunDir) -> list[MemberSpec]:
    return choose_members(open_study(run), run.document().settings, Shape.of(run.open_dataset().info))


def load_member(run: RunDir, member: MemberDocument) -> Forecaster:
    """The member's model in eval mode, on the CPU."""
    model = build_model(model_config(member.architecture, member.model), member.seed)
    model.load_state_dict(load_file(run.member(member.id) / WEIGHTS), strict=True)
    return model.eval()
