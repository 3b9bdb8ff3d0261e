"""The page of `predict --explain`: complete by itself, and true to the weights however even or sharp they are."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hybridtune.data.find import SeriesFile
from hybridtune.models.architectures.basic_lstm import BasicLSTM
from hybridtune.models.architectures.registry import build_model
from hybridtune.models.bundle.attention import AnchorAttention, AttentiveMember
from hybridtune.models.bundle.attention_folder import Example
from hybridtune.models.bundle.series import RequestedSeries, SeriesPrediction
from hybridtune.search.report.attention_plot import draw_page

ANCHOR = 79


def page_of(path: Path, minutes_ET: NDArray[np.float32], windows: tuple[int, ...], name: str = "token") -> str:
    """Of one anchor at minute 79."""
    windows_ES = np.full((len(minutes_ET), len(windows)), 1 / max(1, len(windows)), dtype=np.float32)
    attention = AnchorAttention(minutes_ET.astype(np.float32), windows_ES if windows else None)
    series = RequestedSeries(
        file=SeriesFile(Path("token.csv"), name, ""),
        start=np.datetime64("2025-01-01T00:00", "m"),
        price_T=np.geomspace(1e-6, 1, 100),
        minute_K=np.array([ANCHOR]),
    )
    prediction = SeriesPrediction(
        series,
        p_KH=np.array([[0.125, 0.75]]),
        spread_KH=np.zeros((1, 2)),
        attention_K=(attention,),
    )
    member = AttentiveMember(
        "trial-7", "hybrid_lstm", 0.5, build_model(BasicLSTM.Config(input_size=2, horizons=2), 0), windows
    )
    examples: list[Example] = [(prediction, 0)]
    draw_page(path, member, (15, 60), examples)
    return path.read_text()


def even(heads: int = 2) -> NDArray[np.float64]:
    return np.full((heads, ANCHOR + 1), 1 / (ANCHOR + 1))


def without_scripts(page: str) -> str:
    return re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", page, flags=re.DOTALL)


def test_it_says_what_it_shows_and_needs_no_network(tmp_path: Path) -> None:
    page = page_of(tmp_path / "index.html", even(), (15, 60), name="<b>x")
    assert [p.name for p in tmp_path.iterdir()] == ["index.html"]
    markup = without_scripts(page)
    assert not re.findall(r"""\b(?:src|href|srcset|action|data)\s*=\s*["']?[^"'\s>]+""", markup)
    assert not re.findall(r"url\(|@import|https?://", markup)
    assert "member trial-7 (hybrid_lstm, mean weight 0.50 in the ensemble)" in markup
    assert "&lt;b&gt;x, minute 79 <small>2025-01-01 01:19 UTC</small>" in markup
    assert "<b>x" not in page
    assert re.findall(r"<t[hd]>([\d.]+)</t[hd]>", markup) == ["15", "60", "0.125", "0.750"]
    assert "no proof" in markup
    assert "the last\n15, 60 minutes" in markup
    assert "windows.parquet" in markup


def test_an_architecture_without_windows_has_no_word_of_them(tmp_path: Path) -> None:
    markup = without_scripts(page_of(tmp_path / "index.html", even(), ()))
    assert "window" not in markup


def one_minute() -> NDArray[np.float64]:
    weights_ET = np.zeros((2, ANCHOR + 1))
    weights_ET[:, -1] = 1
    return weights_ET


def one_minute_of_one_head() -> NDArray[np.float64]:
    weights_ET = even()
    weights_ET[0] = one_minute()[0]
    return weights_ET


@pytest.mark.parametrize("minutes_ET", [even(), even(1), one_minute(), one_minute_of_one_head()])
def test_weights_may_be_all_alike_or_all_in_one_place(tmp_path: Path, minutes_ET: NDArray[np.float64]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        page = page_of(tmp_path / "index.html", minutes_ET, (15, 60))
    assert not re.search(r'"z(?:min|max)":(?:-?0\.0|NaN|null)\b', page)
