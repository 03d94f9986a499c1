"""AutoPose's operators: mixed edges of a cell and cross-scale resample-and-sum, fused and in plain PyTorch.

The folder stands at the top of the repository and installs as ``autopose.kernels``, because another package named
``kernels`` exists on PyPI.
"""

if __name__ == "kernels":
    raise ImportError("this package is autopose.kernels: write 'from autopose import kernels', not 'import kernels'")

from .dispatch import KernelChoice, describe
from .mixed_cell import Compression, mixed_cell
from .mixed_edge import mixed_edges
from .resample_sum import resample_sum
from .single_edge import single_edges

__all__ = ["Compression", "KernelChoice", "describe", "mixed_cell", "mixed_edges", "resample_sum", "single_edges"]
