"""Architectures, training, metrics and the exported bundle. Knows no Ray and no Optuna."""
