"""The temporal convolutional network's space."""

from hybridtune.spaces.parameters import Choice, Dimension, Int
from hybridtune.spaces.shared import HORIZON_HEADS, architecture_space

OWN: dict[str, Dimension] = {
    "levels": Int(low=4, high=8),
    "kernel_size": Choice(choices=(2, 3, 5)),
    "horizon_heads": HORIZON_HEADS,
}

TCN = architecture_space("tcn", "tcn", OWN)
