"""The operations of one source as ATen calls under autograd, and their sum in a node."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..dispatch import memory_format
from ..topology import AVERAGE
from .convolution import weights_outweigh


class Operand:
    """A source x (N, C, H, W) and what its operations share."""

    def __init__(self, x: Tensor):
        self.x = x
        self._active, self._contiguous = None, None

    def convolve(self, weight: Tensor) -> Tensor:
        """ReLU and convolution with weight (any, C, k, k)."""
        padding = int(weight.shape[-1]) // 2
        if self._active is None:
            self._active = F.relu(self.x)
        if not weights_outweigh(self.x, weight):
            return F.conv2d(self._active, weight, padding=padding)
        if self._contiguous is None:
            self._contiguous = self._active.contiguous()  # type: ignore[attr-defined]
        y = F.conv2d(self._contiguous, weight, padding=padding)
        return y.contiguous(memory_format=memory_format(self.x))

    def pool(self, op: int) -> Tensor:
        """The average or the maximum pool, by its operation's number."""
        if op == AVERAGE:
            return F.avg_pool2d(self.x, 3, 1, 1, count_include_pad=False)
        return F.max_pool2d(self.x, 3, 1, 1)


def node_sum(terms: Sequence[Tensor], like: Tensor) -> Tensor:
    """The sum of terms (N, C, H, W), in place from the third on, in the memory format of ``like``."""
    total = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    for term in terms[2:]:
        total += term
    wanted = memory_format(like)
    return _DenseGradient.apply(total.contiguous(memory_format=wanted), wanted)


class _DenseGradient(torch.autograd.Function):
    """The identity, which makes a node's gradient dense, once for all terms.

    It is often a slice of that of the cell's concatenated nodes, on which the library's normalisation and pools are
    slow.
    """

    @staticmethod
    def forward(ctx, x: Tensor, wanted: torch.memory_format) -> Tensor:
        ctx.wanted = wanted
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad.contiguous(memory_format=ctx.wanted), None
