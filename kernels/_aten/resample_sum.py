"""Cross-scale resample-and-sum from ATen calls: weighted at the smaller of two scales, summed in place."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resample_sum(inputs: Sequence[Tensor], weights: Tensor | None, size: tuple[int, int]) -> Tensor:
    """sum_b w_b * resample(H_b); arguments as the public function's."""
    total, owned = None, False
    for index, source in enumerate(inputs):
        x = source
        shrink = max(int(have) // want for have, want in zip(x.shape[2:], size, strict=True))
        if shrink > 1:
            x = F.avg_pool2d(x, shrink)
        if weights is not None:
            x = x * weights[index].to(x.dtype)
        if tuple(x.shape[2:]) != tuple(size):
            x = F.interpolate(x, size=size, mode="nearest")
        if total is None:
            total, owned = x, x is not source
        elif owned:
            total += x
        else:
            total, owned = total + x, True
    return total
