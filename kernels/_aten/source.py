"""What a source of a cell computes, in float32 or float64: P pixels, C channels, e edges of the source.

For every source the cell computes one ReLU, one wider convolution of each size and each pool with its statistics once;
mixing weight and normalisation are one scale. The gradient of the weighted normalisation y -> A * y + const has the
same form: dy = A * g + B * y + D.
"""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..topology import NUM_CONVS, NUM_POOLS
from .convolution import CHANNELS_LAST, EdgeConvolution, image, pixels
from .statistics import batch_statistics, total_over
from .tables import Tables

POOL = ([3, 3], [1, 1], [1, 1])
Sums = tuple[Tensor, Tensor, Tensor]
"""Of a source's edges: sum(g) (e, C), sum(g * normalised) (5, e, C) and sum(g * state) (e, C)."""


def accumulator(like: Tensor) -> torch.dtype:
    """The dtype in which statistics are taken."""
    return torch.float64 if like.dtype == torch.float64 else torch.float32


@dataclass
class Source:
    """A source's raw outputs, which it leaves for the backward pass."""

    state: Tensor  # (N, C, H, W) channels_last
    convolved: list[Tensor]  # three (P, e * C)
    plain: Tensor  # (P, 3 * C): average pool, maximum pool, the state itself
    argmax: Tensor  # (N, C, H, W) int64

    NUM_SAVED = 5

    @staticmethod
    def sums_dtype(like: Tensor) -> torch.dtype:
        """The dtype in which a node is summed."""
        return accumulator(like)

    @staticmethod
    def node(total: Tensor, shift: Tensor, like: Tensor) -> Tensor:
        """The node (N, C, H, W) of the sum (P, C), which may be strided, and of its constants (C,)."""
        return image((total + shift).to(like.dtype), like)

    def tensors(self) -> list[Tensor]:
        """What is kept beside the state, ``NUM_SAVED`` tensors."""
        return [*self.convolved, self.plain, self.argmax]

    @classmethod
    def of(cls, state: Tensor, tensors: list[Tensor]) -> Self:
        """The source of what was kept."""
        *convolved, plain, argmax = tensors
        return cls(state.contiguous(memory_format=CHANNELS_LAST), convolved, plain, argmax)

    @classmethod
    def evaluate(cls, state: Tensor, convs: list[EdgeConvolution], edges: list[int]) -> Self:
        """Every operation of the source for its ``edges``, raw."""
        state = state.contiguous(memory_format=CHANNELS_LAST)
        active = F.relu(state)
        convolved = [conv.forward(active, edges) for conv in convs]
        return cls(state, convolved, *cls.pools(state))

    @staticmethod
    def pools(state: Tensor) -> tuple[Tensor, Tensor]:
        """``plain`` and ``argmax``."""
        average = F.avg_pool2d(state, 3, 1, 1, count_include_pad=False)
        maximum, argmax = F.max_pool2d(state, 3, 1, 1, return_indices=True)
        return torch.cat([pixels(average), pixels(maximum), pixels(state)], 1), argmax

    def statistics(self, tables: Tables) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of the normalised outputs, each (5, e, C)."""
        channels = self.state.shape[1]
        matrices = [*self.convolved, self.plain[:, : NUM_POOLS * channels]]
        mean, var = batch_statistics(matrices, self.state, tables.group)
        return per_edge(mean, channels), per_edge(var, channels)

    def accumulate(self, sums: Tensor, tables: Tables, index: int, mean: Tensor, var: Tensor) -> Tensor:
        """Add the weighted outputs to the nodes' columns but for a constant (e, C), which is returned."""
        scale = tables.scales[index] * torch.rsqrt(var + tables.eps)
        for op, row in enumerate(scale[:NUM_CONVS].flatten(1)):
            if index == 0 and op == 0:
                torch.mul(self.convolved[0], row, out=sums)
            else:
                sums.addcmul_(self.convolved[op], row)
        sums.addmm_(self.plain.to(sums.dtype), diagonals([*scale[NUM_CONVS:], tables.skip[index]], scale))
        const = -(scale * mean).sum(0)
        return const if tables.shift is None else const + tables.shift[index]

    def backward(
        self, grad: Tensor, tables: Tables, index: int, mean: Tensor, var: Tensor,
        convs: list[EdgeConvolution], edges: list[int], need: bool,
    ) -> tuple[Sums, Tensor | None]:  # fmt: skip
        """Sums for the tables and, if needed, the gradient (P, C) of the state; the convolutions' goes into them.

        ``grad`` (P, e * C) is that of the nodes which the source feeds.
        """
        step = _Backward(grad, self, tables, index, mean, var)
        step.convolutions(convs, edges, need)
        return step.sums, step.state_gradient() if need else None


def per_edge(values: Tensor, channels: int) -> Tensor:
    """(3 * e * C + 2 * C,) as (5, e, C), the pools' shared by all edges."""
    edges = (values.numel() // channels - NUM_POOLS) // NUM_CONVS
    convolved, pooled = values.split([NUM_CONVS * edges * channels, NUM_POOLS * channels])
    shared = pooled.view(NUM_POOLS, 1, channels).expand(-1, edges, channels)
    return torch.cat([convolved.view(NUM_CONVS, edges, channels), shared])


def diagonals(rows: list[Tensor], like: Tensor) -> Tensor:
    """(rows * C, e * C): scales a channel, each (e, C) or (e,), as diagonals of one matrix; ``like`` is (any, e, C)."""
    _, edges, channels = like.shape
    matrix = like.new_zeros(len(rows), channels, edges, channels)
    for block, row in zip(matrix.diagonal(dim1=1, dim2=3), rows, strict=True):
        block.copy_(row if row.dim() == 2 else row.unsqueeze(-1))
    return matrix.flatten(2).flatten(0, 1)


class _Backward:
    """The gradient of one source for the gradient ``grad`` (P, e * C) of the nodes it feeds."""

    def __init__(self, grad: Tensor, source: Source, tables: Tables, index: int, mean: Tensor, var: Tensor):
        self.grad, self.source, self.skip = grad, source, tables.skip[index]
        self.buffer, self.total = torch.empty_like(grad), None
        rstd = torch.rsqrt(var + tables.eps)
        _, edges, channels = mean.shape
        first = grad.sum(0).view(edges, channels)
        convolved = torch.stack([torch.mul(grad, y, out=self.buffer).sum(0) for y in source.convolved])
        crossed = torch.mm(source.plain.to(grad.dtype).t(), grad).view(NUM_POOLS + 1, channels, edges, channels)
        crossed = crossed.diagonal(dim1=1, dim2=3)
        second = torch.cat([convolved.view(NUM_CONVS, edges, channels), crossed[:NUM_POOLS]])
        second = (second - first * mean) * rstd
        self.sums = (first, second, crossed[NUM_POOLS])
        self.scale = tables.scales[index] * rstd
        if tables.mean is None:
            (first, second), count = total_over([first, second], grad.shape[0], tables.group)
            self.slope = self.scale * rstd * second / -count
            self.const = self.scale * first / -count - self.slope * mean
        else:
            self.slope, self.const = torch.zeros_like(mean), torch.zeros_like(mean)

    def convolutions(self, convs: list[EdgeConvolution], edges: list[int], need: bool) -> None:
        """Gradients of the convolutions' weights, and the sum of those of their input."""
        active = F.relu(self.source.state)
        scale, slope, const = (t[:NUM_CONVS].flatten(1).unbind(0) for t in (self.scale, self.slope, self.const))
        for op, conv in enumerate(convs):
            if not need and conv.gradient is None:
                continue
            y, dy = self.source.convolved[op], self.buffer
            torch.addcmul(const[op], y, slope[op], out=dy).addcmul_(self.grad, scale[op])
            dx = conv.backward(dy.to(active.dtype), active, edges, need)
            self.total = dx if self.total is None or not need else self.total.add_(dx)

    def state_gradient(self) -> Tensor:
        """(P, C): through the ReLU of the convolutions, the pools and the identity."""
        state = self.source.state
        channels = state.shape[1]
        plain = torch.mm(self.grad, diagonals([*self.scale[NUM_CONVS:], self.skip], self.scale).t())
        slope, const = (t[NUM_CONVS:].sum(1).flatten() for t in (self.slope, self.const))
        plain[:, : NUM_POOLS * channels].addcmul_(self.source.plain[:, : NUM_POOLS * channels], slope).add_(const)
        average, maximum, skip = (image(t.contiguous(), state) for t in plain.to(state.dtype).split(channels, 1))
        average = torch.ops.aten.avg_pool2d_backward(average, state, *POOL, False, False, None)
        maximum = torch.ops.aten.max_pool2d_with_indices_backward(
            maximum, state, *POOL, [1, 1], False, self.source.argmax
        )
        active = torch.ops.aten.threshold_backward(self.total, pixels(state), 0)
        return active.add_(pixels(average)).add_(pixels(maximum)).add_(pixels(skip))
