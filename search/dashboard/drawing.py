"""Curves as points of an SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybridtune.search.dashboard.overview import Curve

WIDTH, HEIGHT, MARGIN = 1000, 250, 6


@dataclass(frozen=True)
class Line:
    trial: int
    role: str
    points: str
    """As SVG's polyline takes them."""


@dataclass(frozen=True)
class Drawing:
    lines: Sequence[Line]
    low: float
    high: float
    iterations: int
    width: int = WIDTH
    height: int = HEIGHT


def draw(curves: Sequence[Curve]) -> Drawing | None:
    """All on one pair of axes, from the first iteration and between the extremes; None without a point."""
    values = [value for curve in curves for _, value in curve.points]
    if not values:
        return None
    low, high = min(values), max(values)
    last = max(iteration for curve in curves for iteration, _ in curve.points)
    lines = [Line(curve.trial, curve.role, _points(curve.points, low, high, last)) for curve in curves]
    # What is drawn last lies on top.
    return Drawing(sorted(lines, key=lambda line: line.role == "best"), low, high, last)


def _points(points: Sequence[tuple[int, float]], low: float, high: float, last: int) -> str:
    if len(points) == 1:
        # A line of one point is nothing, from there to there it is a dot.
        points = (*points, *points)
    across, up = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    return " ".join(
        f"{MARGIN + across * (iteration - 1) / max(1, last - 1):.1f},"
        f"{HEIGHT - MARGIN - up * (value - low) / ((high - low) or 1):.1f}"
        for iteration, value in points
    )
