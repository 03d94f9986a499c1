"""Cross-scale resample-and-sum from ATen calls: sums in place, upsampling by broadcasts that are not written."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .cell import accumulator


def forward(inputs: Sequence[Tensor], weights: Tensor | None, size: tuple[int, int]) -> Tensor:
    """The result (N, C, H, W) of dense sources, in their memory format; arguments as the public function's."""
    like, out = inputs[0], None
    for index, x in enumerate(inputs):
        weight = None if weights is None else weights[index].to(accumulator(like))
        x = _average(x, size).to(accumulator(like))
        if out is None:
            x = x.clone() if weight is None else x * weight
            out = F.interpolate(x, size=size, mode="nearest") if _factor(x, size) > 1 else x
            continue
        n, c, h, w = x.shape
        blocks, repeated = out.view(n, c, h, size[0] // h, w, size[1] // w), x[:, :, :, None, :, None]
        if weight is None:
            blocks.add_(repeated)
        else:
            blocks.addcmul_(repeated, weight)
    return out.to(like.dtype)


def backward(
    grad: Tensor, inputs: Sequence[Tensor], weights: Tensor | None, need_weights: bool
) -> tuple[list[Tensor], Tensor | None]:
    """Gradients of the sources and (``need_weights``) of the weights."""
    size, wide = grad.shape[2:], accumulator(grad)
    gradients, sums = [], []
    for index, x in enumerate(inputs):
        factor = _factor(x, size)
        # The adjoint of repeating over a block is the block's sum.
        g = (F.avg_pool2d(grad, factor) if factor > 1 else grad).to(wide) * max(1, factor) ** 2
        if need_weights:
            sums.append((g * _average(x, size)).sum())
        if weights is not None:
            g = g * weights[index].to(wide)
        if factor < 1:
            shrink = x.shape[-1] // size[1]
            g = F.interpolate(g / shrink**2, size=x.shape[2:], mode="nearest")
        gradients.append(g.to(x.dtype))
    return gradients, torch.stack(sums) if need_weights else None


def _factor(x: Tensor, size: Sequence[int]) -> int:
    """How many times larger the result is; 0 where it is smaller."""
    return max(have // x_side for have, x_side in zip(size, x.shape[2:], strict=True))


def _average(x: Tensor, size: Sequence[int]) -> Tensor:
    """x averaged down to ``size``, or x where it is no larger."""
    factor = max(side // want for side, want in zip(x.shape[2:], size, strict=True))
    return F.avg_pool2d(x, factor) if factor > 1 else x
