"""A cell of mixed edges, forward and backward by hand: P = N * H * W pixels, C channels, n nodes.

All nodes are accumulated side by side in one matrix (P, n * C). A source's edges lead to the last nodes, so what it
adds is always the last columns of that matrix, E * C wide. For every source the cell computes one ReLU, one wider
convolution of each size and each pool with its normalisation once; mixing weight and normalisation are one scale.
The gradient of the weighted normalisation y -> A * y + const is dy = A * g + B * y + const again.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .convolution import CHANNELS_LAST, convolve, convolve_backward, image, pixels
from .statistics import batch_statistics, total_over

POOL = ([3, 3], [1, 1], [1, 1])


@dataclass(frozen=True)
class Layout:
    """Where a cell's edges come from and lead to."""

    num_inputs: int
    num_nodes: int

    @property
    def num_sources(self) -> int:
        return self.num_inputs + self.num_nodes - 1

    def first_node(self, source: int) -> int:
        """The first of the consecutive nodes that a source feeds."""
        return max(0, source - self.num_inputs + 1)

    def edges(self, source: int) -> list[int]:
        """The edges that leave a source, in the order of their nodes."""
        nodes = range(self.first_node(source), self.num_nodes)
        return [n * self.num_inputs + n * (n - 1) // 2 + source for n in nodes]


@dataclass(frozen=True)
class Tables:
    """A cell's small tables, in the statistics' dtype: mix (E, 6); weight, bias, mean, var (E, 5, C) or None."""

    mix: Tensor
    weight: Tensor | None
    bias: Tensor | None
    mean: Tensor | None
    var: Tensor | None
    eps: float
    group: str

    def scales(self, edges: list[int]) -> Tensor:
        """Mixing weight times affine weight, (5, edges, C) or (5, edges, 1)."""
        mix = self.mix[edges, :5].t().unsqueeze(-1)
        return mix if self.weight is None else mix * self.weight[edges].transpose(0, 1)


@dataclass
class Source:
    """What one source leaves for the backward pass."""

    state: Tensor  # (N, C, H, W) channels_last
    convolved: list[Tensor]  # three (P, edges * C)
    plain: Tensor  # (P, 3 * C): average pool, maximum pool, the state itself
    argmax: Tensor  # (N, C, H, W) int64

    def tensors(self) -> list[Tensor]:
        return [*self.convolved, self.plain, self.argmax]


def forward(inputs: list[Tensor], num_nodes: int, convs: list[Tensor], tables: Tables):
    """(nodes in channels_last, mean (E, 5, C), var (E, 5, C), a `Source` each)."""
    layout, channels = Layout(len(inputs), num_nodes), inputs[0].shape[1]
    like = inputs[0]
    wide = torch.float32 if like.dtype in (torch.bfloat16, torch.float16) else like.dtype
    sums = torch.empty(like.numel() // channels, num_nodes * channels, dtype=wide, device=like.device)
    shift = sums.new_zeros(num_nodes, channels)
    shape = (tables.mix.shape[0], 5, channels)
    mean, var = sums.new_empty(shape), sums.new_empty(shape)
    states, sources = list(inputs), []
    for index in range(len(inputs) + num_nodes):
        if index >= len(inputs):
            node = index - len(inputs)
            total = sums[:, node * channels : (node + 1) * channels] + shift[node]
            states.append(image(total.to(like.dtype), like))
        if index == layout.num_sources:
            break
        edges, first = layout.edges(index), layout.first_node(index)
        source = _evaluate(states[index], convs, edges)
        statistics = _statistics(source, tables, edges)
        for table, rows in zip((mean, var), statistics, strict=True):
            table[edges] = rows.transpose(0, 1)
        const = _accumulate(sums[:, first * channels :], source, tables, edges, statistics, start=index == 0)
        shift[first:] += const
        sources.append(source)
    return states[len(inputs) :], mean, var, sources


def _evaluate(state: Tensor, convs: list[Tensor], edges: list[int]) -> Source:
    state = state.contiguous(memory_format=CHANNELS_LAST)
    active = F.relu(state)
    convolved = [convolve(active, weight, edges) for weight in convs]
    average = F.avg_pool2d(state, 3, 1, 1, count_include_pad=False)
    maximum, argmax = F.max_pool2d(state, 3, 1, 1, return_indices=True)
    plain = torch.cat([pixels(average), pixels(maximum), pixels(state)], 1)
    return Source(state, convolved, plain, argmax)


def _statistics(source: Source, tables: Tables, edges: list[int]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of a source's normalised outputs, each (5, edges, C)."""
    if tables.mean is not None:
        return tables.mean[edges].transpose(0, 1), tables.var[edges].transpose(0, 1)
    channels = source.state.shape[1]
    found = batch_statistics([*source.convolved, source.plain[:, : 2 * channels]], source.state, tables.group)
    rows = []
    for values in found:
        *convolved, pooled = values
        shared = pooled.view(2, 1, channels).expand(2, len(edges), channels)
        rows.append(torch.cat([torch.stack(convolved).view(3, len(edges), channels), shared]))
    return rows[0], rows[1]


def _accumulate(sums, source: Source, tables: Tables, edges, statistics, start: bool) -> Tensor:
    """Add a source's weighted outputs to its nodes' columns but for a constant (edges, C), which is returned."""
    mean, var = statistics
    scale = tables.scales(edges) * torch.rsqrt(var + tables.eps)
    for index, (y, row) in enumerate(zip(source.convolved, scale[:3].flatten(1), strict=True)):
        if start and index == 0:
            torch.mul(y, row, out=sums)
        else:
            sums.addcmul_(y, row)
    sums.addmm_(source.plain.to(sums.dtype), _diagonals(scale[3:], tables.mix[edges, 5]))
    const = -(scale * mean).sum(0)
    if tables.bias is not None:
        const += (tables.mix[edges, :5, None] * tables.bias[edges]).sum(1)
    return const


def _diagonals(scale: Tensor, skip: Tensor) -> Tensor:
    """(3 * C, edges * C): the channel-wise scales (2, edges, C) of the pools and (edges,) of the identity as a matrix."""
    _, edges, channels = scale.shape
    matrix = scale.new_zeros(3, channels, edges, channels)
    diagonal = matrix.diagonal(dim1=1, dim2=3)
    diagonal[:2].copy_(scale)
    diagonal[2].copy_(skip[:, None])
    return matrix.view(3 * channels, edges * channels)


@dataclass
class Gradients:
    """The gradients of a cell; those not needed stay None."""

    inputs: list[Tensor | None]
    convs: list[Tensor | None]
    mix: Tensor
    weight: Tensor | None
    bias: Tensor | None


def backward(grads: list[Tensor | None], sources: list[Source], convs, tables: Tables, mean, var, needs) -> Gradients:
    """The gradients for those of the nodes; ``needs`` = (inputs, convolutions): booleans for each."""
    num_nodes, like = len(grads), sources[0].state
    num_inputs = len(sources) - num_nodes + 1
    layout, channels = Layout(num_inputs, num_nodes), like.shape[1]
    total = mean.new_empty(like.numel() // channels, num_nodes, channels)
    for node, grad in enumerate(grads):
        if grad is None:
            total[:, node].zero_()
        else:
            total[:, node].copy_(grad.permute(0, 2, 3, 1).reshape(-1, channels))
    out = Gradients(
        [None] * num_inputs,
        [
            torch.empty_like(w, memory_format=torch.contiguous_format) if need else None
            for w, need in zip(convs, needs[1])
        ],
        torch.empty_like(tables.mix),
        None if tables.weight is None else torch.empty_like(tables.weight),
        None if tables.bias is None else torch.empty_like(tables.bias),
    )
    for index in reversed(range(layout.num_sources)):
        edges, first = layout.edges(index), layout.first_node(index)
        need = index >= num_inputs or needs[0][index]
        statistics = (mean[edges].transpose(0, 1), var[edges].transpose(0, 1))
        grad = total[:, first:].reshape(total.shape[0], -1)
        dx = _source_backward(grad, sources[index], convs, tables, statistics, edges, out, need)
        if index >= num_inputs:
            total[:, index - num_inputs] += dx
        elif need:
            out.inputs[index] = image(dx.to(like.dtype), like)
    return out


def _source_backward(grad, source: Source, convs, tables: Tables, statistics, edges, out: Gradients, need: bool):
    """The gradient (P, C) of a source for the gradient (P, edges * C) of what it feeds; the tables' go into ``out``."""
    mean, var = statistics
    rstd, scales = torch.rsqrt(var + tables.eps), tables.scales(edges)
    shape, channels = mean.shape, mean.shape[-1]
    buffer = torch.empty_like(grad)
    first = grad.sum(0)
    second = [torch.mul(grad, y, out=buffer).sum(0) for y in source.convolved]
    crossed = torch.mm(source.plain.to(grad.dtype).t(), grad).view(3, channels, shape[1], channels)
    crossed = crossed.diagonal(dim1=1, dim2=3)
    second = torch.cat([torch.stack(second).view(3, *shape[1:]), crossed[:2]])
    first = first.view(shape[1:])
    second = (second - first * mean) * rstd
    _table_gradients(out, tables, edges, first, second, crossed[2])
    scale = scales * rstd
    slope, const = _normalisation_backward(scale, scales, first, second, mean, rstd, tables, grad.shape[0])
    total = _convolutions_backward(grad, buffer, source, convs, edges, out, (scale, slope, const), need)
    if not need:
        return None
    return _plain_backward(total, grad, source, tables, edges, (scale, slope, const))


def _table_gradients(out: Gradients, tables: Tables, edges, first, second, skip) -> None:
    """Gradients of the mixing weights and affine parameters from sum(g) (edges, C), sum(g * normalised) (5, edges, C)."""
    weighted = second if tables.weight is None else second * tables.weight[edges].transpose(0, 1)
    mix = weighted.sum(-1).t()
    if tables.bias is not None:
        mix = mix + (first[:, None] * tables.bias[edges]).sum(-1)
        out.weight[edges] = (second * tables.mix[edges, :5].t().unsqueeze(-1)).transpose(0, 1)
        out.bias[edges] = first[:, None] * tables.mix[edges, :5, None]
    out.mix[edges, :5] = mix
    out.mix[edges, 5] = skip.sum(-1)


def _normalisation_backward(scale, scales, first, second, mean, rstd, tables: Tables, count: int):
    """B and const, each (5, edges, C), of dy = A * g + B * y + const; summed over the edges they give the pools'."""
    if tables.mean is not None:
        return torch.zeros_like(mean), torch.zeros_like(mean)
    (first, second), count = total_over([first, second], count, tables.group)
    slope = -scale * rstd * second / count
    return slope, -scale * first / count - slope * mean


def _convolutions_backward(grad, buffer, source: Source, convs, edges, out: Gradients, affine, need: bool):
    """The gradient (P, C) of the state's positive part, after the ReLU's mask."""
    scale, slope, const = (t[:3].flatten(1) for t in affine)
    active, total = F.relu(source.state), None
    for index, (y, weight) in enumerate(zip(source.convolved, convs, strict=True)):
        if not need and out.convs[index] is None:
            continue
        torch.addcmul(const[index], y, slope[index], out=buffer).addcmul_(grad, scale[index])
        dy = buffer.to(active.dtype)
        dx = convolve_backward(dy, active, weight, edges, out.convs[index], need)
        if need:
            total = dx if total is None else total.add_(dx)
    return None if total is None else total * (pixels(active) > 0)


def _plain_backward(total, grad, source: Source, tables: Tables, edges, affine) -> Tensor:
    """``total`` plus the gradients (P, C) that come through pools and identity."""
    scale, slope, const = affine
    channels, state = source.state.shape[1], source.state
    plain = torch.mm(grad, _diagonals(scale[3:], tables.mix[edges, 5]).t())
    slope, const = slope[3:].sum(1).flatten(), const[3:].sum(1).flatten()
    pooled = plain[:, : 2 * channels]
    pooled.addcmul_(source.plain[:, : 2 * channels], slope).add_(const)
    average, maximum, skip = (image(t.contiguous(), state).to(state.dtype) for t in plain.split(channels, 1))
    average = torch.ops.aten.avg_pool2d_backward(average, state, *POOL, False, False, None)
    maximum = torch.ops.aten.max_pool2d_with_indices_backward(maximum, state, *POOL, [1, 1], False, source.argmax)
    return pixels(skip.add_(average).add_(maximum)).to(grad.dtype).add_(total)
