"""The hybrid LSTM's space."""

from hybridtune.spaces.parameters import Choice, Dimension, Int
from hybridtune.spaces.shared import HEADS, HORIZON_HEADS, POSITIONS, WINDOW_RUNS, architecture_space

OWN: dict[str, Dimension] = {
    "windows": Choice(choices=("15/60/240", "5/15/60", "15/60", "60/240", "15/30/60/120", "30/120/480")),
    "window_runs": WINDOW_RUNS,
    "attention_heads": HEADS,
    "layers": Int(low=1, high=2),
    "attention_span": Choice(choices=(60, 240, 720)),
    "positions": POSITIONS,
    "horizon_heads": HORIZON_HEADS,
}

HYBRID = architecture_space("hybrid", "hybrid_lstm", OWN)
