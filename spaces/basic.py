"""The basic LSTM's space: one window, one LSTM."""

from hybridtune.spaces.parameters import Choice, Dimension, Int
from hybridtune.spaces.shared import HORIZON_HEADS, WINDOW_RUNS, architecture_space

OWN: dict[str, Dimension] = {
    "window": Choice(choices=(15, 60, 240)),
    "window_runs": WINDOW_RUNS,
    "layers": Int(low=1, high=2),
    "horizon_heads": HORIZON_HEADS,
}

BASIC = architecture_space("basic", "basic_lstm", OWN)
