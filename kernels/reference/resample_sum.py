"""Cross-scale resample-and-sum in plain PyTorch."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def resample_sum(inputs: Sequence[Tensor], weights: Tensor | None, size: tuple[int, int]) -> Tensor:
    """sum_b w_b * resample(H_b) of inputs (N, C, H_b, W_b): nearest up, identity, average down."""
    total = None
    for index, x in enumerate(inputs):
        if x.shape[-1] < size[1]:
            x = F.interpolate(x, size=size, mode="nearest")
        elif x.shape[-1] > size[1]:
            x = F.avg_pool2d(x, int(x.shape[-1]) // size[1])
        if weights is not None:
            x = x * weights[index]
        total = x if total is None else total + x
    return total
