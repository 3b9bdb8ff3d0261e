"""A finished run -> a bundle."""

from pathlib import Path

import numpy as np
from torch import Tensor

from hybridtune.data.document import refuse_existing
from hybridtune.models.bundle.bundle import BundleDocument, MemberEntry, save_bundle
from hybridtune.models.score import Score
from hybridtune.search.finalists.ensemble import blended_members
from hybridtune.search.finalists.members import MemberDocument, load_weights
from hybridtune.search.finalists.predictions import ENSEMBLE, StoredPredictions
from hybridtune.search.report.comparison import finished
from hybridtune.search.report.scores import score
from hybridtune.search.run.run_dir import RunDir


def export(run: RunDir, out: Path) -> BundleDocument:
    """Writes the bundle `out`: the members that have a weight in the ensemble, and the best single one as a
    plain checkpoint. Raises InputError if the run is not finished or `out` exists.
    """
    ensemble = finished(run)
    refuse_existing(out)
    run_document = run.document()
    info = run.open_dataset().info
    test = StoredPredictions.read(run, info.horizons).slice("test")
    chosen = ensemble.methods[ensemble.method]
    trained = {member.id: member for member in blended_members(run, ensemble)}
    weighted = [member_id for member_id, weights in chosen.weights.items() if any(weights)]
    entries = {
        member_id: _entry(trained[member_id], number, chosen.weights[member_id])
        for number, member_id in enumerate(weighted)
    }
    best = _entry(trained[ensemble.best_single], 0, chosen.weights[ensemble.best_single])
    document = BundleDocument(
        horizons=info.horizons,
        features=info.features,
        extras=info.extras,
        formulas=info.formulas,
        columns=info.columns,
        expanding_min=info.expanding_min,
        expanding_max=info.expanding_max,
        members=tuple(entries.values()),
        best_single=ensemble.best_single,
        blending=ensemble.method,
        calibration=ensemble.calibration,
        test=tuple(score(test, ENSEMBLE).values()),
        provenance={
            "dataset": info.fingerprint,
            "seed": str(run_document.settings.seed),
            "test readings": str(run_document.test_readings),
        }
        | run_document.versions,
    )
    states: dict[str, dict[str, Tensor]] = {
        member_id: load_weights(run, trained[member_id]) for member_id in {*weighted, best.id}
    }
    save_bundle(out, document, states, best, _card(document))
    return document


def _entry(member: MemberDocument, number: int, weights: tuple[float, ...]) -> MemberEntry:
    return MemberEntry(
        id=member.id,
        origin=member.origin,
        file=f"member-{number}.safetensors",
        architecture=member.architecture,
        config=member.model,
        weights=weights,
    )


def _in_words(score: Score) -> str:
    if score.metrics.auc is None:
        return "one class"
    if np.isnan(score.auc_low):
        return f"{score.metrics.auc:.3f}, too few blocks of time for an interval"
    claim = "skill" if score.skill else "no skill shown"
    return f"{score.metrics.auc:.3f} [{score.auc_low:.3f}, {score.auc_high:.3f}], {claim}"


def _times(document: BundleDocument) -> str:
    readings = document.provenance["test readings"]
    return "once" if readings == "1" else f"{readings} times, so what was changed in between may have fitted it"


def _card(document: BundleDocument) -> str:
    aucs = "\n".join(
        f"| {horizon} | {_in_words(score)} |" for horizon, score in zip(document.horizons, document.test, strict=True)
    )
    names = "\n".join(f"- {entry.id}: {entry.architecture}, from {entry.origin}" for entry in document.members)
    return f"""# A hybridtune bundle

Predicts whether the price of a newly launched token is higher after each of {len(document.horizons)} horizons, from
its one-minute bars since launch ({document.expanding_min} to {document.expanding_max} of them).

    hybridtune predict BUNDLE FOLDER --out predictions.parquet

| horizon in minutes | AUC on the test slice (scored {_times(document)}), with its 95% interval |
|---|---|
{aucs}

Blending: {document.blending}. Members:
{names}

Made from dataset {document.provenance["dataset"]} with hybridtune {document.provenance["hybridtune"]}.
It says what such launches did, not what the next one will do; it is no advice.
"""
