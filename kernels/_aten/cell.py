"""A cell of mixed edges, forward and backward by hand: P = N * H * W pixels, C channels, e edges of one source.

All nodes are accumulated side by side in one matrix (P, nodes * C). A source's edges lead to the last nodes, so what
it adds is always the last columns of that matrix, e * C wide. For every source the cell computes one ReLU, one wider
convolution of each size and each pool with its statistics once; mixing weight and normalisation are one scale.
The gradient of the weighted normalisation y -> A * y + const has the same form: dy = A * g + B * y + D.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..topology import NUM_CONVS, NUM_POOLS, Topology
from .convolution import CHANNELS_LAST, EdgeConvolution, image, pixels
from .statistics import batch_statistics, total_over
from .tables import Tables

POOL = ([3, 3], [1, 1], [1, 1])


@dataclass
class Kept:
    """What one source leaves for the backward pass."""

    state: Tensor  # (N, C, H, W) channels_last
    convolved: list[Tensor]  # three (P, e * C)
    plain: Tensor  # (P, 3 * C): average pool, maximum pool, the state itself
    argmax: Tensor  # (N, C, H, W) int64

    def tensors(self) -> list[Tensor]:
        return [*self.convolved, self.plain, self.argmax]


def forward(inputs: list[Tensor], cell: Topology, weights: list[Tensor], tables: Tables):
    """(nodes in channels_last, means, variances, a `Kept` each); the statistics are (5, e, C) for every source."""
    like, channels = inputs[0], inputs[0].shape[1]
    convs = [EdgeConvolution(w, like) for w in weights]
    sums = torch.empty(like.numel() // channels, cell.nodes * channels, dtype=accumulator(like), device=like.device)
    shift = sums.new_zeros(cell.nodes, channels)
    states, kept, statistics = list(inputs), [], []
    for index in range(cell.inputs + cell.nodes):
        if index >= cell.inputs:
            node = index - cell.inputs
            total = sums[:, node * channels : (node + 1) * channels] + shift[node]
            states.append(image(total.to(like.dtype), like))
        if index == cell.sources:
            break
        source = _evaluate(states[index], convs, cell.out_of(index))
        found = tables.running(index) or _statistics(source, tables)
        first = cell.first_node(index)
        shift[first:] += _accumulate(sums[:, first * channels :], source, tables, index, *found)
        kept.append(source)
        statistics.append(found)
    return states[cell.inputs :], *zip(*statistics, strict=True), kept


def accumulator(like: Tensor) -> torch.dtype:
    """The dtype in which sums are kept and statistics taken."""
    return torch.float64 if like.dtype == torch.float64 else torch.float32


def _evaluate(state: Tensor, convs: list[EdgeConvolution], edges: list[int]) -> Kept:
    state = state.contiguous(memory_format=CHANNELS_LAST)
    active = F.relu(state)
    convolved = [conv.forward(active, edges) for conv in convs]
    average = F.avg_pool2d(state, 3, 1, 1, count_include_pad=False)
    maximum, argmax = F.max_pool2d(state, 3, 1, 1, return_indices=True)
    return Kept(state, convolved, torch.cat([pixels(average), pixels(maximum), pixels(state)], 1), argmax)


def _statistics(source: Kept, tables: Tables) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of a source's normalised outputs, each (5, e, C)."""
    channels = source.state.shape[1]
    mean, var = batch_statistics(
        [*source.convolved, source.plain[:, : NUM_POOLS * channels]], source.state, tables.group
    )
    return _per_edge(mean, channels), _per_edge(var, channels)


def _per_edge(values: Tensor, channels: int) -> Tensor:
    """(3 * e * C + 2 * C,) as (5, e, C), the pools' shared by all edges."""
    edges = (values.numel() // channels - NUM_POOLS) // NUM_CONVS
    convolved, pooled = values.split([NUM_CONVS * edges * channels, NUM_POOLS * channels])
    shared = pooled.view(NUM_POOLS, 1, channels).expand(-1, edges, channels)
    return torch.cat([convolved.view(NUM_CONVS, edges, channels), shared])


def _accumulate(sums: Tensor, source: Kept, tables: Tables, index: int, mean: Tensor, var: Tensor) -> Tensor:
    """Add a source's weighted outputs to its nodes' columns but for a constant (e, C), which is returned."""
    scale = tables.scales[index] * torch.rsqrt(var + tables.eps)
    for op, row in enumerate(scale[:NUM_CONVS].flatten(1)):
        if index == 0 and op == 0:
            torch.mul(source.convolved[0], row, out=sums)
        else:
            sums.addcmul_(source.convolved[op], row)
    sums.addmm_(source.plain.to(sums.dtype), _diagonals(scale[NUM_CONVS:], tables.skip[index]))
    const = -(scale * mean).sum(0)
    return const if tables.shift is None else const + tables.shift[index]


def _diagonals(scale: Tensor, skip: Tensor) -> Tensor:
    """(3 * C, e * C): the pools' channel-wise scales (2, e, C) and the identity's (e,) as diagonals of one matrix."""
    _, edges, channels = scale.shape
    matrix = scale.new_zeros(NUM_POOLS + 1, channels, edges, channels)
    diagonal = matrix.diagonal(dim1=1, dim2=3)
    diagonal[:NUM_POOLS].copy_(scale)
    diagonal[NUM_POOLS].copy_(skip.unsqueeze(-1))
    return matrix.flatten(2).flatten(0, 1)


@dataclass
class Gradients:
    """The gradients of a cell; those of inputs and convolutions that are not needed are None."""

    inputs: list[Tensor | None]
    convs: list[Tensor | None]
    mix: Tensor
    weight: Tensor | None
    bias: Tensor | None


def backward(grads, kept: list[Kept], cell: Topology, weights, tables: Tables, statistics, needs) -> Gradients:
    """The gradients for those of the nodes; ``needs`` = (inputs, convolutions): a boolean for each of them."""
    like, channels = kept[0].state, kept[0].state.shape[1]
    convs = [EdgeConvolution(w, like, gradient=need) for w, need in zip(weights, needs[1], strict=True)]
    total = torch.empty(like.numel() // channels, cell.nodes, channels, dtype=accumulator(like), device=like.device)
    for node, grad in enumerate(grads):
        total[:, node] = 0 if grad is None else grad.permute(0, 2, 3, 1).reshape(-1, channels)
    inputs, sums = [None] * cell.inputs, [None] * cell.sources
    for index in reversed(range(cell.sources)):
        need = index >= cell.inputs or needs[0][index]
        grad = total[:, cell.first_node(index) :].reshape(total.shape[0], -1)
        step = _SourceBackward(grad, kept[index], tables, index, *(s[index] for s in statistics))
        sums[index] = step.sums
        step.convolutions(convs, cell.out_of(index), need)
        if not need:
            continue
        if index >= cell.inputs:
            total[:, index - cell.inputs] += step.state_gradient()
        else:
            inputs[index] = image(step.state_gradient().to(like.dtype), like)
    return Gradients(inputs, [conv.gradient for conv in convs], *tables.gradients(sums))


class _SourceBackward:
    """The gradient of one source for the gradient ``grad`` (P, e * C) of the nodes it feeds."""

    def __init__(self, grad: Tensor, source: Kept, tables: Tables, index: int, mean: Tensor, var: Tensor):
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
        plain = torch.mm(self.grad, _diagonals(self.scale[NUM_CONVS:], self.skip).t())
        slope, const = (t[NUM_CONVS:].sum(1).flatten() for t in (self.slope, self.const))
        plain[:, : NUM_POOLS * channels].addcmul_(self.source.plain[:, : NUM_POOLS * channels], slope).add_(const)
        average, maximum, skip = (image(t.contiguous(), state) for t in plain.to(state.dtype).split(channels, 1))
        average = torch.ops.aten.avg_pool2d_backward(average, state, *POOL, False, False, None)
        maximum = torch.ops.aten.max_pool2d_with_indices_backward(
            maximum, state, *POOL, [1, 1], False, self.source.argmax
        )
        active = torch.ops.aten.threshold_backward(self.total, pixels(state), 0)
        return active.add_(pixels(average)).add_(pixels(maximum)).add_(pixels(skip))
