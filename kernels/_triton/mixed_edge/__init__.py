"""Mixed edges of a cell on Triton. README.md beside this file is the map, docs/kernels.md the derivation."""

from .operator import mixed_edges, stacked_nodes

__all__ = ["mixed_edges", "stacked_nodes"]
