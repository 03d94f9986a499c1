"""The truth: every operator in plain PyTorch."""

from .compress import compress
from .mixed_edge import mixed_edges
from .resample_sum import resample_sum
from .single_edge import single_edges

__all__ = ["compress", "mixed_edges", "resample_sum", "single_edges"]
