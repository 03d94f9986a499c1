"""One operation an edge, batched: a source's convolutions of one kind as one wider one, its pools shared."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reference.mixed_edge import batch_norm

IDENTITY = 5


class _Cell:
    """A cell's edges sorted by source and operation, and the rows of its per-edge tables."""

    def __init__(self, num_inputs: int, num_nodes: int, ops: Sequence[int]):
        self.ops, self.targets, self.rows, used = ops, [], [], [0] * 6
        for node in range(num_nodes):
            for source in range(num_inputs + node):
                self.targets.append((source, node))
        for op in ops:
            self.rows.append(used[op])
            used[op] += 1
        self.groups: dict[int, dict[int, list[int]]] = {}
        for edge, (source, _) in enumerate(self.targets):
            self.groups.setdefault(source, {}).setdefault(ops[edge], []).append(edge)


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
    cell = _Cell(len(inputs), num_nodes, ops)
    norm = _Norm(norm_weight, norm_bias, running_mean, running_var, mix, training, momentum, eps, process_group)
    convs = [() if w is None else w.unbind(0) for w in (conv1, conv3, conv5)]
    states = list(inputs)
    sums = [_Sum() for _ in range(num_nodes)]
    for source in range(len(inputs) + num_nodes - 1):
        if source >= len(inputs):
            states.append(sums[source - len(inputs)].value)
        x, active = states[source], None
        for op, edges in cell.groups[source].items():
            if op < 3 and active is None:
                active = F.relu(x)
            for edge, y in zip(edges, _outputs(x, active, op, edges, cell, convs, norm), strict=True):
                sums[cell.targets[edge][1]].add(y)
    return [total.value for total in sums]


def _outputs(x, active, op, edges, cell, convs, norm) -> Sequence[Tensor]:
    """The weighted outputs of one operation of one source, an entry an edge."""
    if op == IDENTITY:
        return [x if norm.mix is None else x * norm.mix[edge].to(x.dtype) for edge in edges]
    if op < 3:
        weights = [convs[op][cell.rows[edge]] for edge in edges]
        y = F.conv2d(active, weights[0] if len(edges) == 1 else torch.cat(weights), padding=op)
        return norm(y, edges).split(x.shape[1], 1)
    pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) if op == 3 else F.max_pool2d(x, 3, 1, 1)
    if norm.training and len(edges) > 1:
        return norm.shared(pooled, edges)
    return [norm(pooled, [edge]) for edge in edges]


class _Norm:
    """Batch normalisation with the rows of a cell's tables, the edges' weights folded into the affine part."""

    def __init__(self, weight, bias, mean, var, mix, training, momentum, eps, process_group):
        self.weight, self.bias, self.mean, self.var, self.mix = weight, bias, mean, var, mix
        self.training, self.momentum, self.eps, self.process_group = training, momentum, eps, process_group

    def __call__(self, x: Tensor, edges: list[int]) -> Tensor:
        """x (N, edges * C, H, W) normalised by the rows of ``edges``."""
        weight, bias = self._affine(edges, x.shape[1] // len(edges))
        return self._normalise(x, edges, weight, bias)

    def shared(self, x: Tensor, edges: list[int]) -> list[Tensor]:
        """x (N, C, H, W) normalised once by its batch statistics, then scaled for every one of ``edges``."""
        y = self._normalise(x, edges, None, None)
        if self.weight is None and self.mix is None:
            return [y] * len(edges)
        outputs = []
        for edge in edges:
            weight, bias = self._affine([edge], x.shape[1])
            weight = weight.to(x.dtype).view(1, -1, 1, 1)
            outputs.append(y * weight if bias is None else torch.addcmul(bias.to(x.dtype).view(1, -1, 1, 1), y, weight))
        return outputs

    def _affine(self, edges, channels):
        """The rows' scale and shift, each (edges * C,) or None, times the edges' weights."""
        if self.mix is None:
            return _rows(self.weight, edges), _rows(self.bias, edges)
        mix = torch.stack([self.mix[edge] for edge in edges]).repeat_interleave(channels)
        if self.weight is None:
            return mix, None
        return _rows(self.weight, edges) * mix, _rows(self.bias, edges) * mix

    def _normalise(self, x, edges, weight, bias):
        if not self.training:
            mean, var = _rows(self.mean, edges), _rows(self.var, edges)
            return F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
        kept = (None, None)
        if self.mean is not None:
            # A momentum of 1 writes the batch's mean and unbiased variance into buffers of zeros.
            kept = (self.mean.new_zeros(x.shape[1]), self.var.new_zeros(x.shape[1]))
        row = (slice(None),)
        y = batch_norm(x, row, (weight, bias, *kept), True, 1.0, self.eps, self.process_group)
        if self.mean is not None:
            self._keep(kept, edges)
        return y

    def _keep(self, kept, edges):
        with torch.no_grad():
            for table, batch in zip((self.mean, self.var), kept, strict=True):
                rows = batch.view(-1, table.shape[1]).expand(len(edges), -1)
                for edge, row in zip(edges, rows, strict=True):
                    table[edge].lerp_(row, self.momentum)


class _Sum:
    """A running sum whose second and later terms are added in place; the terms themselves stay as they are."""

    def __init__(self):
        self.value, self.owned = None, False

    def add(self, term: Tensor) -> None:
        if self.value is None:
            self.value = term
        elif self.owned:
            self.value += term
        else:
            self.value, self.owned = self.value + term, True


def _rows(table: Tensor | None, edges: list[int]) -> Tensor | None:
    if table is None:
        return None
    return table[edges[0]] if len(edges) == 1 else torch.cat([table[edge] for edge in edges])
