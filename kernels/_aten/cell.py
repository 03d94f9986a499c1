"""A cell of mixed edges, forward and backward by hand: P = N * H * W pixels, C channels, e edges of one source.

All nodes are accumulated side by side in one matrix (P, nodes * C). A source's edges lead to the last nodes, so what
it adds is always the last columns of that matrix, e * C wide. What a source computes, and in which arithmetic, is
`Source` (float32 and float64) and `HalfSource` (bfloat16 on processors that multiply its matrices).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import dispatch
from ..topology import Topology
from .convolution import EdgeConvolution, image, pixels
from .half_source import HalfSource
from .source import Source, accumulator
from .tables import Tables


def source_kind(like: Tensor) -> type[Source]:
    """The arithmetic for tensors like this one."""
    half = like.device.type == "cpu" and like.dtype == torch.bfloat16 and dispatch.multiplies_bf16()
    return HalfSource if half else Source


def forward(inputs: list[Tensor], cell: Topology, weights: list[Tensor], tables: Tables):
    """(nodes in channels_last, means, variances, a `Source` each); the statistics are (5, e, C) for every source."""
    like, channels, kind = inputs[0], inputs[0].shape[1], source_kind(inputs[0])
    convs = [EdgeConvolution(w, like) for w in weights]
    sums = torch.empty(like.numel() // channels, cell.nodes * channels, dtype=kind.sums_dtype(like), device=like.device)
    shift = sums.new_zeros(cell.nodes, channels, dtype=accumulator(like))
    states, sources, statistics = list(inputs), [], []
    for index in range(cell.inputs + cell.nodes):
        if index >= cell.inputs:
            node = index - cell.inputs
            states.append(kind.node(sums[:, node * channels : (node + 1) * channels], shift[node], like))
        if index == cell.sources:
            break
        source = kind.evaluate(states[index], convs, cell.out_of(index))
        found = tables.running(index) or source.statistics(tables)
        first = cell.first_node(index)
        shift[first:] += source.accumulate(sums[:, first * channels :], tables, index, *found)
        sources.append(source)
        statistics.append(found)
    return states[cell.inputs :], *zip(*statistics, strict=True), sources


@dataclass
class Gradients:
    """The gradients of a cell; those of inputs and convolutions that are not needed are None."""

    inputs: list[Tensor | None]
    convs: list[Tensor | None]
    mix: Tensor
    weight: Tensor | None
    bias: Tensor | None


def backward(grads, sources: list[Source], cell: Topology, weights, tables: Tables, statistics, needs) -> Gradients:
    """The gradients for those of the nodes; ``needs`` = (inputs, convolutions): a boolean for each of them."""
    like, kind = sources[0].state, type(sources[0])
    convs = [EdgeConvolution(w, like, gradient=need) for w, need in zip(weights, needs[1], strict=True)]
    dtype = kind.sums_dtype(like)
    empty = torch.zeros_like(pixels(like), dtype=dtype) if any(g is None for g in grads) else None
    # As columns of a wider matrix, which nodes that were concatenated get, sums would take several times as long.
    totals = [empty if g is None else pixels(g).to(dtype).contiguous() for g in grads]
    inputs, sums, widths, grad = [None] * cell.inputs, [None] * cell.sources, 0, None
    for index in reversed(range(cell.sources)):
        need = index >= cell.inputs or needs[0][index]
        reached = totals[cell.first_node(index) :]
        if len(reached) != widths:
            widths, grad = len(reached), torch.cat(reached, 1)
        mean, var = (s[index] for s in statistics)
        edges = cell.out_of(index)
        sums[index], found = sources[index].backward(grad, tables, index, mean, var, convs, edges, need)
        if index >= cell.inputs:
            totals[index - cell.inputs] = totals[index - cell.inputs] + found
        elif need:
            inputs[index] = image(found.to(like.dtype), like)
    return Gradients(inputs, [conv.gradient for conv in convs], *tables.gradients(sums))
