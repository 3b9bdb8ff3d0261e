"""The hybrid LSTM's space. The defaults are those of the guide and make trial 0 of every search."""

from spaces.parameters import Choice, Float, Int, Space

HYBRID = Space(
    name="hybrid",
    dimensions={
        "architecture": Choice(choices=("hybrid_lstm",)),
        "windows": Choice(choices=("15/60/240", "5/15/60", "15/60", "60/240", "15/30/60/120", "30/120/480")),
        "hidden_size": Int(low=32, high=256, step=16),
        # Each divides every hidden size above.
        "attention_heads": Choice(choices=(2, 4, 8)),
        "layers": Int(low=1, high=2),
        "dropout": Float(low=0.2, high=0.5),
        "scaling": Choice(choices=("standard", "robust", "quantile")),
        "attention_span": Choice(choices=(60, 240, 720)),
        "learning_rate": Float(low=1e-4, high=1e-3, log=True),
        "weight_decay": Float(low=1e-4, high=1e-1, log=True),
        "batch_size": Choice(choices=(32, 64, 128, 256)),
    },
    guide={
        "architecture": "hybrid_lstm",
        "windows": "15/60/240",
        "hidden_size": 128,
        "attention_heads": 8,
        "layers": 1,
        "dropout": 0.3,
        "scaling": "standard",
        "attention_span": 720,
        "learning_rate": 5e-4,
        "weight_decay": 1e-2,
        "batch_size": 64,
    },
)
