"""Ensemble weights, fitted and chosen on the blend slice; then the sealed test slice is scored, once.

Shapes: A anchors, H horizons, N members.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hybridtune.data.schema import SliceName
from hybridtune.models.bundle.calibration import Calibration, calibrated
from hybridtune.models.metrics import all_metrics
from hybridtune.search.finalists.baselines import Baselines
from hybridtune.search.finalists.blend_methods import Floats, Labels, best_single, methods, mix, two_class_horizons
from hybridtune.search.finalists.cross_validation import (
    calibration_losses,
    chosen_kinds,
    fit_calibration,
    method_losses,
)
from hybridtune.search.finalists.ensemble import EnsembleDocument, MethodResult
from hybridtune.search.finalists.members import MemberDocument, failed_members, members, wanted_members
from hybridtune.search.finalists.predictions import ENSEMBLE, Predictions, predict, write_predictions
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.study.study import configurations_tried, open_study


@dataclass(frozen=True)
class FittedBlend:
    """What the blend slice chose."""

    losses: dict[str, float]
    """Method -> cross-validated log loss."""
    weights: dict[str, Floats]
    """Method -> weights_NH, fitted on the whole slice."""
    calibration_losses: dict[str, tuple[float, ...]]
    calibration_H: tuple[Calibration, ...]

    @property
    def method(self) -> str:
        return min(self.losses, key=lambda name: self.losses[name])

    def predict(self, p_NAH: Floats) -> Floats:
        """p_AH of the ensemble."""
        return calibrated(mix(p_NAH, self.weights[self.method]), self.calibration_H)


def blend(run: RunDir, say: Say) -> None:
    """Writes predictions.parquet and ensemble.json. The test slice is read after everything is fitted, and each reading
    is counted in run.json.
    """
    dataset = run.open_dataset()
    chosen = members(run)
    fitting = predict(run, dataset, "blend")
    fitted = _fit([member.architecture for member in chosen], fitting, say)
    say("fitting the baselines: logistic regression and gradient-boosted trees")
    baselines = Baselines(dataset, run.document().settings.seed)

    run.count_test_reading()
    slices: dict[SliceName, Predictions] = {"blend": fitting, "test": predict(run, dataset, "test")}
    # The result of a smaller search goes with its predictions.
    run.ensemble.unlink(missing_ok=True)
    ids = [member.id for member in chosen]
    write_predictions(
        run,
        dataset,
        {name: part.y_AH for name, part in slices.items()},
        {
            name: dict(zip(ids, part.p_NAH, strict=True))
            | {ENSEMBLE: fitted.predict(part.p_NAH)}
            | baselines.predict(name)
            for name, part in slices.items()
        },
    )
    _document(run, chosen, fitted, slices).write(run.ensemble)


def _fit(architectures: list[str], fitting: Predictions, say: Say) -> FittedBlend:
    _say_one_class(fitting.horizons, fitting.y_AH, say)
    every = methods(architectures)
    losses = method_losses(every, fitting)
    winner = min(losses, key=lambda name: losses[name])
    say("blending: " + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()) + f"; chosen: {winner}")
    weights = {name: every[name](fitting.p_NAH, fitting.y_AH) for name in losses}
    by_kind = calibration_losses(every[winner], fitting) if len(fitting.series) > 1 else {}
    kind_H = chosen_kinds(by_kind, len(fitting.horizons))
    calibration_H = fit_calibration(mix(fitting.p_NAH, weights[winner]), fitting.y_AH, kind_H)
    say("calibrating: " + ", ".join(f"{h} {c.kind}" for h, c in zip(fitting.horizons, calibration_H, strict=True)))
    return FittedBlend(losses, weights, by_kind, calibration_H)


def _document(
    run: RunDir, chosen: list[MemberDocument], fitted: FittedBlend, slices: Mapping[SliceName, Predictions]
) -> EnsembleDocument:
    ids = [member.id for member in chosen]
    fitting, test = slices["blend"], slices["test"]
    single = best_single(fitting.p_NAH, fitting.y_AH).mean(axis=1)
    return EnsembleDocument(
        horizons=fitting.horizons,
        method=fitted.method,
        methods={
            name: MethodResult(
                cross_validated_log_loss=fitted.losses[name],
                weights={member: tuple(row) for member, row in zip(ids, weights_NH.tolist(), strict=True)},
                blend=all_metrics(mix(fitting.p_NAH, weights_NH), fitting.y_AH),
                test=all_metrics(mix(test.p_NAH, weights_NH), test.y_AH),
            )
            for name, weights_NH in fitted.weights.items()
        },
        calibration=fitted.calibration_H,
        calibration_losses=fitted.calibration_losses,
        blend=all_metrics(fitted.predict(fitting.p_NAH), fitting.y_AH),
        test=all_metrics(fitted.predict(test.p_NAH), test.y_AH),
        best_single=ids[int(single.argmax())],
        members={member.id: member.origin for member in chosen},
        roles={spec.id: spec.roles for spec in wanted_members(run) if spec.id in ids},
        architectures={member.id: member.architecture for member in chosen},
        left_out={member.id: member.failure for member in failed_members(run)},
        configurations_tried=configurations_tried(open_study(run)),
    )


def _say_one_class(horizons: tuple[int, ...], y_AH: Labels, say: Say) -> None:
    alike = [str(h) for h, two_classes in zip(horizons, two_class_horizons(y_AH), strict=True) if not two_classes]
    if alike:
        minutes = ", ".join(alike)
        say(f"the labels of the blend slice are of one class at {minutes} minutes: equal weights, no calibration there")
