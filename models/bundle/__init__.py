"""What a finished run hands on: it predicts with torch, numpy, pandas, pyarrow, pydantic and safetensors alone."""

from hybridtune.models.bundle.bundle import Bundle

__all__ = ["Bundle"]
