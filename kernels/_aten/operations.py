"""The operations of one source as ATen calls under autograd, and their sum in a node."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import memory_format
from .convolution import weights_outweigh


class Operand:
    """A source x (N, C, H, W) and what its operations share."""

    def __init__(self, x: Tensor):
        self.x = x
        self._active, self._contiguous = None, None

    def convolve(self, weight: Tensor) -> Tensor:
        """ReLU and convolution with weight (any, C, k, k)."""
        padding = weight.shape[-1] // 2
        if self._active is None:
            self._active = F.relu(self.x)
        if not weights_outweigh(self.x, weight):
            return F.conv2d(self._active, weight, padding=padding)
        if self._contiguous is None:
            self._contiguous = self._active.contiguous()
        y = F.conv2d(self._contiguous, weight, padding=padding)
        return y.contiguous(memory_format=memory_format(self.x))

    def pool(self, op: int) -> Tensor:
        """The average (operation 3) or maximum (operation 4) pool."""
        if op == 3:
            return F.avg_pool2d(self.x, 3, 1, 1, count_include_pad=False)
        return F.max_pool2d(self.x, 3, 1, 1)


class NodeSum(torch.autograd.Function):
    """The sum of terms (N, C, H, W), in place from the third on.

    The gradient of a node is often a slice of that of the cell's concatenated nodes, on which the library's
    normalisation and pools are slow; here it is made dense, once for all terms.
    """

    @staticmethod
    def forward(ctx, like: Tensor, *terms: Tensor) -> Tensor:
        """``like`` gives the memory format."""
        ctx.count, ctx.memory_format = len(terms), memory_format(like)
        if len(terms) == 1:
            total = terms[0].contiguous(memory_format=ctx.memory_format)
            return total.view_as(total) if total is terms[0] else total
        total = terms[0] + terms[1]
        for term in terms[2:]:
            total += term
        return total.contiguous(memory_format=ctx.memory_format)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return None, *(grad.contiguous(memory_format=ctx.memory_format),) * ctx.count
