"""The basic LSTM's space: one window, one LSTM."""

from spaces.parameters import Choice, Float, Int, Space

BASIC = Space(
    name="basic",
    dimensions={
        "architecture": Choice(choices=("basic_lstm",)),
        "window": Choice(choices=(15, 60, 240)),
        "hidden_size": Int(low=32, high=256, step=16),
        "layers": Int(low=1, high=2),
        "dropout": Float(low=0.2, high=0.5),
        "scaling": Choice(choices=("standard", "robust", "quantile")),
        "learning_rate": Float(low=1e-4, high=1e-3, log=True),
        "weight_decay": Float(low=1e-4, high=1e-1, log=True),
        "batch_size": Choice(choices=(32, 64, 128, 256)),
    },
    guide={
        "architecture": "basic_lstm",
        "window": 60,
        "hidden_size": 128,
        "layers": 1,
        "dropout": 0.3,
        "scaling": "standard",
        "learning_rate": 5e-4,
        "weight_decay": 1e-2,
        "batch_size": 64,
    },
)
