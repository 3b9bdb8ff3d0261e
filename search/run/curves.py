"""The curve log: one line for each iteration of each trial."""

import json
import os
from pathlib import Path

import pandas as pd

from hybridtune.models.training.progress import Progress

CURVE_COLUMNS = ("trial", "iteration", "samples", "train_loss", "tune_loss", "tune_auc", "seconds", "micro_batch")


def append_curve_point(path: Path, trial: int, progress: Progress) -> None:
    """One line of JSON. A process that dies in the middle of one costs that line only."""
    point = {"trial": trial} | {name: getattr(progress, name) for name in CURVE_COLUMNS[1:]}
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
        torn = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * torn + json.dumps(point).encode() + b"\n")


def read_curves(path: Path) -> pd.DataFrame:
    """All points, the latest where a resumed trial reported an iteration again; torn lines are left out."""
    points: dict[tuple[int, int], dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            point = json.loads(line)
        except json.JSONDecodeError:
            continue
        points[point["trial"], point["iteration"]] = point
    return pd.DataFrame([points[key] for key in sorted(points)], columns=list(CURVE_COLUMNS))
