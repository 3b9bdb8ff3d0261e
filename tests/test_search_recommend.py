"""Each recommendation follows from numbers, and from those alone."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import SCORE

from hybridtune.models.training.progress import Progress
from hybridtune.search.finalists.members import MemberDocument
from hybridtune.search.finalists.predictions import StoredPredictions
from hybridtune.search.report.comparison import Comparison, Finalist, Row
from hybridtune.search.report.recommend import recommendations

HORIZONS = (15, 60)


def comparison(losses: dict[str, float]) -> Comparison:
    """losses: architecture -> what its one member loses on the blend slice."""
    finalists = tuple(
        Finalist(name, name, name, (0.6, loss, 0.6), (0.6, 0.6, 0.6), ()) for name, loss in losses.items()
    )
    return Comparison(HORIZONS, {"ensemble": Row("ensemble", dict.fromkeys(HORIZONS, SCORE))}, 45, 1, {}, finalists)


def member(train: list[float], tune: list[float]) -> MemberDocument:
    curve = tuple(
        Progress(
            iteration=i + 1, samples=i, train_loss=a, tune_loss=b, tune_auc=0.5, objective=b, seconds=1.0, micro_batch=1
        )
        for i, (a, b) in enumerate(zip(train, tune, strict=True))
    )
    spec = {"id": "m", "origin": "o", "params": {}, "seed": 0}
    return MemberDocument(
        **spec, architecture="basic_lstm", model={}, curve=curve, tune=(), weights_sha256=hashlib.sha256().hexdigest()
    )


def searched(early: dict[str, list[float]], best: int, complete: int = 3) -> tuple[pd.DataFrame, pd.DataFrame]:
    """early: windows -> losses of its trials after two iterations. Tables of trials and of curves."""
    windows = [name for name, losses in early.items() for _ in losses]
    losses = [loss for values in early.values() for loss in values]
    numbers = range(len(losses))
    ends = [best, *[n for n in numbers if n != best]][:complete]
    trials = pd.DataFrame(
        {
            "trial": numbers,
            "config.windows": windows,
            "state": ["complete" if n in ends else "pruned" for n in numbers],
            "rank": [ends.index(n) if n in ends else None for n in numbers],
        }
    )
    # Who goes on is better by then.
    points = [(n, 2, losses[n]) for n in numbers] + [(n, 9, 0.1) for n in ends]
    return trials, pd.DataFrame(points, columns=["trial", "iteration", "tune_loss"])


def stored(up: dict[str, float], base_rate: float = 0.45) -> StoredPredictions:
    """up: slice -> share of up labels at 60 minutes among the surest tenth, which the ensemble calls up, and elsewhere
    none; at 15 minutes all labels are down, as the base rate and the surest calls say. An anchor every two hours.
    """
    parts = []
    for name, share in up.items():
        p_A = np.concatenate([np.full(20, 0.9), np.full(180, 0.49)])
        label_A = np.concatenate([np.arange(20) < 20 * share, np.zeros(180)]).astype(np.int8)
        columns = {
            "slice": name,
            "series": "s",
            "launch": pd.Timestamp("2025-01-01"),
            "minute": np.random.default_rng(0).permutation(200) * 120,
            "ensemble/15": 0.01,
            "base_rate/15": 0.08,
            "label/15": 0,
            "ensemble/60": p_A,
            "base_rate/60": base_rate,
            "label/60": label_A,
        }
        parts.append(pd.DataFrame(columns))
    return StoredPredictions(pd.concat(parts), HORIZONS)


def said(topic: str, **changes: object) -> list[str]:
    trials, curves = searched({"15": [0.6] * 4, "60": [0.7] * 4}, best=1)
    given: dict[str, object] = {
        "comparison": comparison({"hybrid_lstm": 0.6, "basic_lstm": 0.65}),
        "trained": [member([0.6, 0.6], [0.6, 0.61])],
        "trials": trials,
        "curves": curves,
        "stored": stored({"blend": 0.8, "test": 0.7}),
    }
    sentences = recommendations(**(given | changes))  # type: ignore[arg-type]
    return [sentence for sentence in sentences if sentence.startswith(topic)]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ({"hybrid_lstm": 0.6, "basic_lstm": 0.65}, ["keep hybrid_lstm; on the blend slice it loses 0.0500 nats less"]),
        ({"hybrid_lstm": 0.65, "basic_lstm": 0.6495}, ["basic_lstm and hybrid_lstm are alike on the blend slice"]),
        ({"tcn": 0.6}, []),
    ],
)
def test_the_architecture_is_the_one_that_blends_best(losses: dict[str, float], words: list[str]) -> None:
    found = said("Architecture", comparison=comparison(losses))
    assert all(expected in sentence for sentence, expected in zip(found, words, strict=True))


@pytest.mark.parametrize(
    ("early", "words"),
    [
        ({"15": [0.7] * 4, "60": [0.65] * 4}, ["60 pay; after 2 iterations they lose 0.0500 nats less than 15."]),
        ({"15": [0.65] * 4, "60": [0.6501] * 4}, ["15 and 60 are alike after 2 iterations"]),
        ({"15": [0.7] * 4, "60": [0.1] * 2}, []),  # too few to say
    ],
)
def test_windows_are_scored_where_every_trial_still_ran(early: dict[str, list[float]], words: list[str]) -> None:
    trials, curves = searched(early, best=1)
    found = said("Windows", trials=trials, curves=curves)
    assert all(expected in sentence for sentence, expected in zip(found, words, strict=True))


def test_a_search_over_no_windows_says_nothing_of_them() -> None:
    trials, curves = searched({"15": [0.7] * 4, "60": [0.6] * 4}, best=1)
    assert not said("Windows", trials=trials.drop(columns="config.windows"), curves=curves)


@pytest.mark.parametrize(
    ("best", "complete", "words"),
    [(7, 3, "number 8 of 8, late"), (1, 3, "number 2 of 8, and no later one beat it"), (1, 2, "only 2 of 8")],
)
def test_more_trials_are_worth_it_where_the_best_came_late(best: int, complete: int, words: str) -> None:
    trials, curves = searched({"15": [0.7] * 4, "60": [0.6] * 4}, best, complete)
    (sentence,) = said("Trials", trials=trials, curves=curves)
    assert words in sentence
    # After a warm start the numbers begin with those of the earlier run.
    assert said("Trials", trials=trials.assign(trial=trials["trial"] + 24), curves=curves) == [sentence]


@pytest.mark.parametrize(
    ("train", "tune", "words"),
    [
        ([0.6, 0.5], [0.65, 0.7], "lose 0.050 nats more on tune than on train: more series"),
        ([0.66, 0.65], [0.66, 0.65], "1 of 1 members were best at their last iteration: train for longer"),
        ([0.65, 0.65], [0.65, 0.66], "lose +0.000 nats on tune beside train: they have data enough"),
    ],
)
def test_more_data_is_worth_it_where_members_learn_train_by_heart(
    train: list[float], tune: list[float], words: str
) -> None:
    (sentence,) = said("Data", trained=[member(train, tune)]) or said("Training", trained=[member(train, tune)])
    assert words in sentence


def test_uneven_horizons_are_named() -> None:
    even = np.arange(200) % 2
    frame = stored({"blend": 0.5, "test": 0.5}).frame
    on_blend = frame["slice"] == "blend"

    def labelled(label_A: object) -> StoredPredictions:
        """What is not of blend stays as uneven as it is: the advice must not know it."""
        labels = {f"label/{h}": frame[f"label/{h}"].mask(on_blend, pd.Series(label_A)) for h in HORIZONS}
        return StoredPredictions(frame.assign(**labels), HORIZONS)

    assert not said("Class imbalance", stored=labelled(even))
    uneven = labelled(even)
    uneven.frame.loc[on_blend, "label/60"] = np.where(np.arange(200) < 10, -1, np.arange(200) % 10 < 3)
    (sentence,) = said("Class imbalance", stored=uneven)
    assert sentence.startswith("Class imbalance: 60 min (30% up).")


def test_sure_calls_are_chosen_on_blend_and_count_only_beyond_the_base_rate() -> None:
    """At 15 minutes every sure call is right, and so is every call by the base rate."""
    (sentence,) = said("Real-time use")
    assert "on blend the surest 10% of calls beat calls by the base rate most at 60 minutes" in sentence
    # 70% right against 30%: what test holds, not blend, which chose.
    assert "difference in right calls is +40.0% (95% interval " in sentence
    (sentence,) = said("Real-time use", stored=stored({"blend": 0.8, "test": 0.3}))
    assert "difference in right calls is -40.0% (95% interval -" in sentence
    few = stored({"blend": 0.8, "test": 0.7})
    (sentence,) = said("Real-time use", stored=replace(few, frame=few.frame.assign(minute=60)))
    assert "(too few blocks of time for an interval)" in sentence
    assert not said("Real-time use", stored=replace(few, frame=few.frame.iloc[::50]))
