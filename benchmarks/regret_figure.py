"""Draws what `replay_arms` found: the regret of what a search hands on, by what it has spent.

It claims nothing. `python -m benchmarks.regret_figure FOUND.json docs/regret.png`, FOUND.json being what replay_arms
printed.
"""

import argparse
import json
import tempfile
from pathlib import Path

import plotly.graph_objects as go

from benchmarks.browser import browser

WIDTH, HEIGHT = 900, 480
DRAWN = {
    "stock 4/3": ("plain Ray Tune, ASHA (4, 3)", "#888888", "dash"),
    "stock 1/4": ("plain Ray Tune, ASHA (1, 4)", "#888888", "dot"),
    "random, stopping 4/3": ("random draws, ASHA (4, 3)", "#d08c2f", "solid"),
    "first iteration's top of 100": ("the best of 100 after one iteration", "#b0507a", "solid"),
    "TPE, promotion": ("TPE with promotion", "#3a78b5", "solid"),
    "latest, promotion": ("latest with promotion", "#2a8a57", "solid"),
}
"""Arm -> its name, color and dash."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("found", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    regret = json.loads(given.found.read_text())["regret by budget"]
    figure = go.Figure(layout=layout())
    for arm, (name, color, dash) in DRAWN.items():
        if arm in regret:
            line = {"color": color, "dash": dash, "width": 2}
            figure.add_scatter(x=regret["budget"], y=regret[arm], name=name, mode="lines+markers", line=line)
    with tempfile.TemporaryDirectory() as folder, browser() as page:
        path = Path(folder) / "figure.html"
        figure.write_html(path, config={"staticPlot": True})
        page.set_window_size(WIDTH + 20, HEIGHT + 160)
        page.get(path.as_uri())
        page.find_element("class name", "main-svg")
        given.picture.write_bytes(page.find_element("class name", "svg-container").screenshot_as_png)


def layout() -> go.Layout:
    return go.Layout(
        width=WIDTH,
        height=HEIGHT,
        template="simple_white",
        margin={"l": 70, "r": 20, "t": 20, "b": 60},
        xaxis={
            "type": "log",
            "tickvals": [0.01, 0.03, 0.1, 0.3, 1],
            "title": "iterations of all trials, as a share of what plain Ray Tune (4, 3) spends",
        },
        yaxis={"title": "regret, in gaps from the median to the best", "rangemode": "tozero"},
        legend={"x": 0.99, "y": 0.99, "xanchor": "right"},
    )


if __name__ == "__main__":
    main()
