"""The compression of a cell's nodes on Triton: `operator.py` registers it, `kernels.py` holds its five launches."""

from .operator import compress

__all__ = ["compress"]
