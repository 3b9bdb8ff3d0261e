"""The finalists: which configurations are trained anew, and what is kept of each."""

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import optuna
import torch
from safetensors.torch import load

from hybridtune.data.document import Document
from hybridtune.data.schema import InputError
from hybridtune.models.architectures.forecaster import Forecaster
from hybridtune.models.architectures.registry import build_model, model_config
from hybridtune.models.score import HorizonMetrics
from hybridtune.models.training.progress import Progress
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.settings import Settings
from hybridtune.search.study.study import best_first, config_of
from hybridtune.spaces.load import SHIPPED
from hybridtune.spaces.parameters import Config
from hybridtune.spaces.trial_config import Shape

MEMBER, FAILED = "member.json", "failed.json"


Role = Literal["reference", "basic"]
"""What a member is compared as: the reference configuration, the best basic LSTM."""


@dataclass(frozen=True)
class MemberSpec:
    id: str
    origin: str
    """Where the configuration is from, for people."""
    params: Config
    seed: int
    roles: tuple[Role, ...] = ()


class ChosenMembers(Document):
    """members.json: written when retraining begins, read by everything after it."""

    members: tuple[MemberSpec, ...]


class MemberDocument(Document):
    """member.json"""

    current_version: ClassVar[int] = 6

    version: int = 6
    id: str
    origin: str
    params: Config
    seed: int
    architecture: str
    model: dict[str, Any]
    """What the architecture's Config is made from."""
    curve: tuple[Progress, ...]
    tune: tuple[HorizonMetrics, ...]
    """Per horizon, on the tune slice that also chose the configuration: optimistic."""
    weights_sha256: str

    @property
    def weights(self) -> str:
        """The file's name. Two attempts at a member may both get to its end; this document says whose weights it is of,
        and is written after them.
        """
        return f"model-{self.weights_sha256[:12]}.safetensors"


class FailedMember(Document):
    """failed.json, in place of member.json: trained anew it would only fail again."""

    id: str
    origin: str
    failure: str


def choose_members(study: optuna.Study, settings: Settings, shape: Shape) -> list[MemberSpec]:
    """The reference configuration and the best basic LSTM, once each, for comparison and as members of their own; then
    the top-k distinct configurations that were trained to their end, `seeds` times each.
    """
    finalists = [(f"trial {t.number}", config_of(t)) for t in best_first(study)[: settings.top_k]]
    reference, basic = ("reference", settings.space.default()), _best_basic(study, shape)
    wanted: dict[Role, Config] = {"reference": reference[1], "basic": basic[1]}
    chosen: list[tuple[str, Config, int]] = []
    for origin, params in (reference, basic):
        if all(params != other for _, other in finalists) and all(params != other for _, other, _ in chosen):
            chosen.append((origin, params, 0))
    chosen += [(origin, params, seed) for origin, params in finalists for seed in range(settings.seeds)]
    return [
        # Seeds of the members are not those of the search, whose luck chose the configurations.
        MemberSpec(
            id=f"{origin.replace(' ', '-').lower()}-seed-{seed}",
            origin=origin,
            params=params,
            seed=settings.seed + 1 + seed,
            roles=tuple(role for role, config in wanted.items() if params == config),
        )
        for origin, params, seed in chosen
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


def wanted_members(run: RunDir) -> tuple[MemberSpec, ...]:
    """Raises InputError if the run has not come to its retraining."""
    return ChosenMembers.read(run.chosen_members).members


def load_weights(run: RunDir, member: MemberDocument) -> dict[str, torch.Tensor]:
    """Raises InputError if they are gone or damaged."""
    path = run.member(member.id) / member.weights
    content = path.read_bytes() if path.exists() else b""
    if hashlib.sha256(content).hexdigest() != member.weights_sha256:
        raise InputError(f"{path} is gone or damaged: remove {path.parent}, then `hybridtune resume {run.name}`")
    weights: dict[str, torch.Tensor] = load(content)
    return weights


def load_member(run: RunDir, member: MemberDocument) -> Forecaster:
    """The member's model in eval mode, on the CPU."""
    model = build_model(model_config(member.architecture, member.model), member.seed)
    model.load_state_dict(load_weights(run, member), strict=True)
    return model.eval()
