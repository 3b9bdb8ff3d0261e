"""What a search had to train again, after processes or hosts were lost."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path


def redone_after(curve_log: Path, faults: Sequence[int]) -> Counter[tuple[int, int]]:
    """(fault, trial) -> how many of its iterations were trained again between that fault and the next.

    faults: how many lines curves.jsonl had at each. A second training is told by its time, which differs; a resume only
    reports again what it has, with the same time.
    """
    redone: Counter[tuple[int, int]] = Counter()
    seconds: dict[tuple[int, int], float] = {}
    for number, line in enumerate(curve_log.read_text().splitlines()):
        try:
            point = json.loads(line)
        except json.JSONDecodeError:
            continue  # a kill tore it
        key = point["trial"], point["iteration"]
        if seconds.setdefault(key, point["seconds"]) != point["seconds"]:
            redone[max((k for k, there in enumerate(faults) if there <= number), default=0), point["trial"]] += 1
            seconds[key] = point["seconds"]
    return redone
