"""The transformer's space."""

from hybridtune.spaces.parameters import Dimension, Int
from hybridtune.spaces.shared import HEADS, HORIZON_HEADS, POSITIONS, architecture_space

OWN: dict[str, Dimension] = {
    "blocks": Int(low=1, high=4),
    "attention_heads": HEADS,
    "positions": POSITIONS,
    "horizon_heads": HORIZON_HEADS,
}

TRANSFORMER = architecture_space("transformer", "transformer", OWN)
