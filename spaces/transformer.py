"""The transformer's space."""

from spaces.parameters import Config, Dimension, Int
from spaces.shared import HEADS, HORIZON_HEADS, POSITIONS, architecture_space

OWN: dict[str, Dimension] = {
    "blocks": Int(low=1, high=4),
    "attention_heads": HEADS,
    "positions": POSITIONS,
    "horizon_heads": HORIZON_HEADS,
}

GUIDE: Config = {"blocks": 2, "attention_heads": 8, "positions": "sinusoidal", "horizon_heads": "independent"}

TRANSFORMER = architecture_space("transformer", "transformer", OWN, GUIDE)
