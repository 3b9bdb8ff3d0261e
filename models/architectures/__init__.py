"""The models: each maps minutes and anchors to logits of the horizons."""
