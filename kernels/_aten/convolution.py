"""Convolutions of one source for several edges: P = N * H * W pixels, C channels, E edges, k x k taps.

Activations are (N, C, H, W) in channels_last, which is the matrix (P, C); outputs are matrices (P, E * C).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS_LAST = torch.channels_last


def pixels(x: Tensor) -> Tensor:
    """x (N, C, H, W) in channels_last as the matrix (P, C), without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, like: Tensor) -> Tensor:
    """A matrix (P, any) as (N, any, H, W) in channels_last, sized as ``like``, without a copy."""
    n, _, h, w = like.shape
    return matrix.view(n, h, w, -1).permute(0, 3, 1, 2)


def convolve(x: Tensor, weight: Tensor, edges: Sequence[int]) -> Tensor:
    """(P, E * C): x convolved with the rows ``edges`` of weight (all edges, C, C, k, k), as one convolution."""
    channels, k = weight.shape[1], weight.shape[-1]
    if not _by_product(x, k):
        return pixels(F.conv2d(x, _gather(weight, edges), padding=k // 2).contiguous(memory_format=CHANNELS_LAST))
    columns, y = _columns(x, k), x.new_empty(x.numel() // channels, len(edges) * channels)
    for edge, out in zip(edges, y.split(channels, 1), strict=True):
        torch.mm(columns, weight[edge].reshape(channels, -1).t(), out=out)
    return y


def convolve_backward(
    grad: Tensor, x: Tensor, weight: Tensor, edges: Sequence[int], weight_grad: Tensor | None, input_grad: bool
) -> Tensor | None:
    """The gradient (P, C) of x for the gradient (P, E * C) of the output; weight's goes into the rows of weight_grad."""
    channels, k = weight.shape[1], weight.shape[-1]
    if _by_product(x, k):
        return _product_backward(grad, x, weight, edges, weight_grad, input_grad)
    mask = [input_grad, weight_grad is not None, False]
    back, geometry = torch.ops.aten.convolution_backward, ([1, 1], [k // 2] * 2, [1, 1], False, [0, 0], 1)
    dx, dw, _ = back(image(grad, x), x, _gather(weight, edges), None, *geometry, mask)
    if weight_grad is not None:
        for edge, rows in zip(edges, dw.split(channels), strict=True):
            weight_grad[edge].copy_(rows)
    return pixels(dx.contiguous(memory_format=CHANNELS_LAST)) if input_grad else None


def _product_backward(grad, x, weight, edges, weight_grad, input_grad) -> Tensor | None:
    channels, k = weight.shape[1], weight.shape[-1]
    rows = list(zip(edges, grad.split(channels, 1), strict=True))
    if weight_grad is not None:
        columns = _columns(x, k)
        for edge, g in rows:
            torch.mm(g.t(), columns, out=weight_grad[edge].view(channels, -1))
    if not input_grad:
        return None
    total = grad.new_zeros(channels * k * k, grad.shape[0])
    for edge, g in rows:
        total.addmm_(weight[edge].reshape(channels, -1).t(), g.t())
    n, _, h, w = x.shape
    folded = F.fold(total.view(-1, n, h * w).transpose(0, 1), (h, w), k, padding=k // 2)
    return pixels(folded.contiguous(memory_format=CHANNELS_LAST))


def _by_product(x: Tensor, k: int) -> bool:
    """Whether a matrix product over copied neighbourhoods beats the library.

    Where pixels are few and weights many (the coarse branches at small batches), the library spends more time on
    putting weights and their gradients into its own layout than on the products.
    """
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and x.numel() <= 4 * x.shape[1] ** 2


def _columns(x: Tensor, k: int) -> Tensor:
    """(P, C * k * k): every pixel's neighbourhood, in the order of a weight's elements."""
    if k == 1:
        return pixels(x)
    n, c, h, w = x.shape
    padded = F.pad(x, [k // 2] * 4).contiguous(memory_format=CHANNELS_LAST)
    s = padded.stride()
    windows = padded.as_strided((n, h, w, c, k, k), (s[0], s[2], s[3], s[1], s[2], s[3]))
    return windows.reshape(n * h * w, c * k * k)


def _gather(weight: Tensor, edges: Sequence[int]) -> Tensor:
    """The rows ``edges`` of weight (all edges, C, C, k, k) as one weight (E * C, C, k, k) in channels_last."""
    channels, k = weight.shape[1], weight.shape[-1]
    stacked = weight.new_empty(len(edges) * channels, k, k, channels).permute(0, 3, 1, 2)
    for edge, rows in zip(edges, stacked.split(channels), strict=True):
        rows.copy_(weight[edge])
    return stacked
