"""index.html of `predict --explain`: a member's attention, one figure for each anchor, on a page that opens offline.

Shapes: T minutes, E heads, R rows of the heatmap (the heads and their mean), S fixed windows.
"""

from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from hybridtune.data.document import write_atomically
from hybridtune.models.bundle.attention import AnchorAttention, AttentiveMember
from hybridtune.models.bundle.attention_folder import DRAWN_ANCHORS, Example
from hybridtune.models.bundle.series import SeriesPrediction
from hybridtune.search.dashboard.render import render

INK, GREY, OUT_OF_REACH = "#2f6fab", "#8a97a5", "#e4e8ec"
LEAST_CONTRAST = 0.01
"""In doublings: weights closer to even than that are rounding."""


def draw_page(path: Path, member: AttentiveMember, horizons: tuple[int, ...], examples: list[Example]) -> None:
    page = render(
        __package__,
        "attention.html",
        member=member,
        horizons=horizons,
        anchors=[_anchor(member, prediction, k) for prediction, k in examples],
        most_anchors=DRAWN_ANCHORS,
        plotly_js=get_plotlyjs(),
    )
    write_atomically(path, page.encode())


def _anchor(member: AttentiveMember, prediction: SeriesPrediction, k: int) -> dict[str, object]:
    minute = int(prediction.series.minute_K[k])
    attention = prediction.attention_K[k]
    figure = attention_figure(prediction.series.price_T[: minute + 1], attention, member.windows, "price, log scale")
    return {
        "series": prediction.series.file.name,
        "minute": minute,
        "time": str(prediction.series.start + np.timedelta64(minute, "m")).replace("T", " "),
        "p_H": prediction.p_KH[k],
        "figure": figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False}),
    }


def attention_figure(
    price_T: NDArray[np.float64], attention: AnchorAttention, windows: tuple[int, ...], price: str
) -> go.Figure:
    """Price above the heads' view of the minutes, on one axis of time; the windows beside them."""
    both = attention.windows_ES is not None
    figure = make_subplots(
        rows=2,
        cols=2 if both else 1,
        row_heights=[0.42, 0.58],
        column_widths=[0.74, 0.26] if both else None,
        specs=[[{}, {"rowspan": 2}], [{}, None]] if both else None,
        shared_xaxes="columns",
        vertical_spacing=0.04,
        horizontal_spacing=0.17,
    )
    figure.add_scatter(
        y=price_T, line={"color": INK, "width": 1.5}, hovertemplate="minute %{x}: %{y:.4g}<extra></extra>", row=1, col=1
    )
    figure.add_trace(_minutes(attention.minutes_ET, colorbar_x=0.62 if both else 1.01), row=2, col=1)
    figure.update_yaxes(title=price, type="log", tickformat=".3~g", nticks=6, row=1, col=1)
    figure.add_hrect(
        y0=-0.5, y1=len(attention.minutes_ET) + 0.5, fillcolor=OUT_OF_REACH, line_width=0, layer="below", row=2, col=1
    )
    figure.update_yaxes(title="self-attention, head", autorange="reversed", showgrid=False, row=2, col=1)
    figure.update_xaxes(title="minutes since launch", showgrid=False, row=2, col=1)
    if attention.windows_ES is not None:
        _add_windows(figure, attention.windows_ES, windows)
    figure.update_layout(
        template="plotly_white",
        height=300 + 22 * len(attention.minutes_ET),
        margin={"t": 10, "b": 10, "l": 10, "r": 10},
        showlegend=False,
    )
    return figure


def _minutes(weights_ET: NDArray[np.float32], colorbar_x: float) -> go.Heatmap:
    """Colour says how many times the even share a minute got, on a log scale as wide as the weights need."""
    weights_RT = np.concatenate([weights_ET.mean(axis=0, keepdims=True), weights_ET])
    seen_T = weights_RT[0] > 0
    share_RT = weights_RT * seen_T.sum()
    # No share is more than all; a weight too small for a float is as far below even as that is above.
    most = np.log2(seen_T.sum())
    with np.errstate(divide="ignore"):
        doublings_RT = np.where(seen_T, np.log2(share_RT).clip(-most, most), np.nan).astype(np.float32)
    limit = max(LEAST_CONTRAST, float(np.quantile(np.abs(doublings_RT[:, seen_T]), 0.99)))
    ticks = np.linspace(-limit, limit, 5)
    return go.Heatmap(
        z=doublings_RT,
        y=["mean", *map(str, range(len(weights_ET)))],
        customdata=np.stack([weights_RT, share_RT], axis=-1),
        hovertemplate="minute %{x}, head %{y}: %{customdata[0]:.2%}, "
        "%{customdata[1]:.3g} times the even share<extra></extra>",
        colorscale="RdBu_r",
        zmid=0,
        zmin=-limit,
        zmax=limit,
        ygap=1,
        colorbar={
            "title": {"text": "times the<br>even share"},
            "tickvals": ticks,
            "ticktext": [f"{2.0**tick:.3g}" for tick in ticks],
            "x": colorbar_x,
            "y": 0.29,
            "len": 0.58,
            "thickness": 12,
        },
    )


def _add_windows(figure: go.Figure, weights_ES: NDArray[np.float32], windows: tuple[int, ...]) -> None:
    names = [f"{window} min" for window in windows]
    figure.add_bar(
        x=names,
        y=weights_ES.mean(axis=0),
        marker={"color": INK, "opacity": 0.45},
        hovertemplate="mean of the heads on %{x}: %{y:.1%}<extra></extra>",
        row=1,
        col=2,
    )
    for head, weights_S in enumerate(weights_ES):
        figure.add_scatter(
            x=names,
            y=weights_S,
            mode="markers",
            marker={"symbol": "line-ew-open", "size": 16, "color": INK},
            hovertemplate=f"head {head} on %{{x}}: %{{y:.1%}}<extra></extra>",
            row=1,
            col=2,
        )
    figure.add_hline(y=1 / len(windows), line={"dash": "dot", "color": GREY}, row=1, col=2)
    figure.update_yaxes(title="cross-attention, share of each window", tickformat=".0%", rangemode="tozero",
                        row=1, col=2)  # fmt: skip
