"""One operation an edge: a source's light convolutions of one kind as one wider one, its ReLU and its pools shared."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..topology import IDENTITY, NUM_CONVS, NUM_OPS, Topology
from .convolution import weights_outweigh
from .norm import EdgeNorm
from .operations import Operand, node_sum


def _by_kind(ops: Sequence[int], edges: Sequence[int]) -> dict[int, list[int]]:
    """Edges by their operation."""
    found: dict[int, list[int]] = {}
    for edge in edges:
        found.setdefault(ops[edge], []).append(edge)
    return found


def _rows(ops: Sequence[int]) -> list[int]:
    """Every edge's row in the table of its operation's weights."""
    used, rows = [0] * NUM_OPS, []
    for op in ops:
        rows.append(used[op])
        used[op] += 1
    return rows


def single_edges(
    inputs: Sequence[Tensor],
    num_nodes: int,
    ops: Sequence[int],
    conv1: Tensor | None,
    conv3: Tensor | None,
    conv5: Tensor | None,
    mix: Tensor | None = None,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    process_group=None,
) -> list[Tensor]:
    """Every node of a cell of single operations; arguments as the public function's."""
    cell, first, rows = Topology(len(inputs), num_nodes), inputs[0], _rows(ops)
    tables = (norm_weight, norm_bias, running_mean, running_var, mix)
    collect = training and running_mean is not None
    norm = EdgeNorm(first.shape[1], *tables, training, collect, eps, process_group)
    mix = None if mix is None else mix.unbind(0)
    convs = [() if w is None else w.unbind(0) for w in (conv1, conv3, conv5)]
    terms: list[list[Tensor]] = [[] for _ in range(num_nodes)]
    states = list(inputs)
    for source in range(cell.sources):
        if source >= cell.inputs:
            states.append(node_sum(terms[source - cell.inputs], first))
            terms[source - cell.inputs].clear()
        operand, out_of = Operand(states[source]), cell.out_of(source)
        for op, edges in _by_kind(ops, out_of).items():
            if op == IDENTITY:
                outputs = [operand.x if mix is None else operand.x * mix[edge].to(first.dtype) for edge in edges]
            elif op < NUM_CONVS:
                outputs = _convolved(operand, [convs[op][rows[edge]] for edge in edges], edges, norm)
            else:
                outputs = _pooled(operand, op, edges, norm)
            for edge, y in zip(edges, outputs, strict=True):
                terms[cell.first_node(source) + out_of.index(edge)].append(y)
    states.append(node_sum(terms[-1], first))
    norm.update(momentum)
    return states[len(inputs) :]


def _convolved(operand: Operand, weights: list[Tensor], edges: list[int], norm: EdgeNorm) -> Sequence[Tensor]:
    """Normalised convolutions of one kind, an entry an edge: heavy ones by themselves, so that no weights are moved."""
    if len(edges) == 1 or weights_outweigh(operand.x, weights[0]):
        return [y for w, edge in zip(weights, edges, strict=True) for y in norm(operand.convolve(w), [edge])]
    return norm(operand.convolve(torch.cat(weights)), edges)


def _pooled(operand: Operand, op: int, edges: list[int], norm: EdgeNorm) -> Sequence[Tensor]:
    """The normalised pool, an entry an edge."""
    pooled = operand.pool(op)
    if norm.training and len(edges) > 1:
        return norm.shared(pooled, edges)
    return [y for edge in edges for y in norm(pooled, [edge])]
