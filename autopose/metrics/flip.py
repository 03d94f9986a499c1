"""The flip test: heatmaps of the mirrored input, mirrored back and averaged with the plain ones (HRNet).

Letters: N people, K joints, h and w the heatmap's height and width. NumPy arrays and torch tensors both go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Heatmaps = TypeVar("Heatmaps")


def flip_order(num_joints: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The permutation that exchanges left and right joints; its own inverse."""
    order = list(range(num_joints))
    for left, right in pairs:
        order[left], order[right] = right, left
    return order


def flip_back(heatmaps: Heatmaps, pairs: Sequence[tuple[int, int]], shift: bool = False) -> Heatmaps:
    """Mirror heatmaps and exchange their left and right joints.

    Args:
        heatmaps: (N, K, h, w).
        pairs: indices of the left and right joints.
        shift: move the mirrored maps one cell to the right, the first column repeated. A crop whose border meets the
            box mirrors one cell off; with UDP it does not, so there is no shift.

    Returns:
        (N, K, h, w), a new array.
    """
    _, num_joints, _, width = heatmaps.shape  # type: ignore[attr-defined]
    columns = list(range(width - 1, -1, -1))
    if shift:
        columns = columns[:1] + columns[:-1]
    return heatmaps[:, flip_order(num_joints, pairs)][..., columns]


def merge_flip(
    heatmaps: Heatmaps, of_mirrored: Heatmaps, pairs: Sequence[tuple[int, int]], shift: bool = True
) -> Heatmaps:
    """Average of the plain heatmaps and those of the mirrored input; (N, K, h, w) each, see ``flip_back``."""
    return (heatmaps + flip_back(of_mirrored, pairs, shift)) * 0.5
