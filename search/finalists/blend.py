"""Ensemble weights, fitted and chosen on the blend slice; then the sealed test slice is scored, once.

Shapes: A anchors, H horizons, N members.
"""

from hybridtune.data.schema import SliceName
from hybridtune.models.bundle.calibration import calibrated
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
from hybridtune.search.finalists.members import failed_members, members
from hybridtune.search.finalists.predictions import ENSEMBLE, Predictions, predict, write_predictions
from hybridtune.search.run.run_dir import RunDir
from hybridtune.search.run.say import Say
from hybridtune.search.study.study import configurations_tried, open_study


def blend(run: RunDir, say: Say) -> None:
    """Writes predictions.parquet and ensemble.json. The test slice is read after everything is fitted, and each reading
    is counted in run.json.
    """
    dataset = run.open_dataset()
    chosen = members(run)
    ids = [member.id for member in chosen]
    fitting = predict(run, dataset, "blend")
    _say_one_class(dataset.info.horizons, fitting.y_AH, say)
    every = methods([member.architecture for member in chosen])
    losses = method_losses(every, fitting)
    winner = min(losses, key=lambda name: losses[name])
    weights = {name: every[name](fitting.p_NAH, fitting.y_AH) for name in losses}
    say("blending: " + ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items()) + f"; chosen: {winner}")
    by_kind = calibration_losses(every[winner], fitting) if len(fitting.series) > 1 else {}
    kind_H = chosen_kinds(by_kind, len(dataset.info.horizons))
    calibration_H = fit_calibration(mix(fitting.p_NAH, weights[winner]), fitting.y_AH, kind_H)
    say("calibrating: " + ", ".join(f"{h} {c.kind}" for h, c in zip(dataset.info.horizons, calibration_H, strict=True)))
    say("fitting the baselines: logistic regression and gradient-boosted trees")
    baselines = Baselines(dataset, run.document().settings.seed)

    run.count_test_reading()
    test = predict(run, dataset, "test")
    slices: dict[SliceName, Predictions] = {"blend": fitting, "test": test}
    p_AH: dict[SliceName, Floats] = {
        name: calibrated(mix(part.p_NAH, weights[winner]), calibration_H) for name, part in slices.items()
    }
    # The result of a smaller search goes with its predictions.
    run.ensemble.unlink(missing_ok=True)
    write_predictions(
        run,
        dataset,
        {name: part.y_AH for name, part in slices.items()},
        {
            name: dict(zip(ids, part.p_NAH, strict=True)) | {ENSEMBLE: p_AH[name]} | baselines.predict(name)
            for name, part in slices.items()
        },
    )
    EnsembleDocument(
        horizons=dataset.info.horizons,
        method=winner,
        methods={
            name: MethodResult(
                cross_validated_log_loss=losses[name],
                weights={member: tuple(row) for member, row in zip(ids, weights[name].tolist(), strict=True)},
                blend=all_metrics(mix(fitting.p_NAH, weights[name]), fitting.y_AH),
                test=all_metrics(mix(test.p_NAH, weights[name]), test.y_AH),
            )
            for name in losses
        },
        calibration=calibration_H,
        calibration_losses=by_kind,
        blend=all_metrics(p_AH["blend"], fitting.y_AH),
        test=all_metrics(p_AH["test"], test.y_AH),
        best_single=ids[int(best_single(fitting.p_NAH, fitting.y_AH).mean(axis=1).argmax())],
        members={member.id: member.origin for member in chosen},
        roles={member.id: member.roles for member in chosen},
        architectures={member.id: member.architecture for member in chosen},
        left_out={member.id: member.failure for member in failed_members(run)},
        configurations_tried=configurations_tried(open_study(run)),
    ).write(run.ensemble)


def _say_one_class(horizons: tuple[int, ...], y_AH: Labels, say: Say) -> None:
    alike = [str(h) for h, two_classes in zip(horizons, two_class_horizons(y_AH), strict=True) if not two_classes]
    if alike:
        minutes = ", ".join(alike)
        say(f"the labels of the blend slice are of one class at {minutes} minutes: equal weights, no calibration there")
