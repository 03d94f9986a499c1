"""Batch normalisation of edges: C channels, E edges."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reference.mixed_edge import synchronised_batch_norm
from .source import accumulator


class EdgeNorm:
    """Batch normalisation by the rows of a cell's tables (E, C), with the edges' weights folded into the affine part.

    Args:
        channels: C.
        weight, bias, mean, var: affine and running tables, None where there are none.
        mix: (E,) weights of the edges, or None for ones.
        collect: keep the batch's mean and unbiased variance of every edge in ``batch``.
        training, eps, process_group: as in `single_edges`.
    """

    def __init__(self, channels, weight, bias, mean, var, mix, training, collect, eps, process_group):
        self.channels, self.mean, self.var = channels, mean, var
        self.training, self.collect, self.eps, self.process_group = training, collect, eps, process_group
        if mix is not None:
            columns = mix.unsqueeze(1).expand(-1, channels)
            weight = columns.contiguous() if weight is None else weight * columns
            bias = None if bias is None else bias * columns
        self.weight, self.bias = (None if t is None else t.unbind(0) for t in (weight, bias))
        self.batch: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, edges: Sequence[int]) -> Sequence[Tensor]:
        """x (N, edges * C, H, W) normalised by the rows of ``edges``, an entry an edge."""
        y = self._normalise(x, edges, _rows(self.weight, edges), _rows(self.bias, edges))
        return [y] if len(edges) == 1 else y.split(self.channels, 1)

    def shared(self, x: Tensor, edges: Sequence[int]) -> list[Tensor]:
        """x (N, C, H, W) normalised once by its batch statistics, then scaled for every one of ``edges``."""
        y = self._normalise(x, edges, None, None)
        if self.weight is None:
            return [y] * len(edges)
        outputs, shape = [], (1, -1, 1, 1)
        for edge in edges:
            weight = self.weight[edge].to(x.dtype).view(shape)
            bias = None if self.bias is None else self.bias[edge].to(x.dtype).view(shape)
            outputs.append(y * weight if bias is None else torch.addcmul(bias, y, weight))
        return outputs

    def update(self, momentum: float) -> None:
        """Move the running rows of the edges in ``batch`` towards the batch's."""
        if not self.batch:
            return
        with torch.no_grad():
            for table, rows in zip((self.mean, self.var), zip(*self.batch.values(), strict=True), strict=True):
                torch._foreach_lerp_([table[edge] for edge in self.batch], list(rows), momentum)

    def _normalise(self, x: Tensor, edges: Sequence[int], weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if not self.training:
            mean, var = _rows(self.mean, edges), _rows(self.var, edges)
            return F.batch_norm(x, mean, var, weight, bias, False, 0.0, self.eps)
        mean, var = self._buffers(x, edges) if self.collect else (None, None)
        if self.process_group is None:
            return F.batch_norm(x, mean, var, weight, bias, True, 1.0, self.eps)
        return synchronised_batch_norm(x, weight, bias, mean, var, 1.0, self.eps, self.process_group)

    def _buffers(self, x: Tensor, edges: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Zeros, into which a momentum of 1 writes the batch's statistics of x."""
        like = x if self.mean is None else self.mean
        dtype = accumulator(x) if self.mean is None else like.dtype
        mean, var = like.new_zeros(2, x.shape[1], dtype=dtype).unbind(0)
        parts = len(edges) if x.shape[1] > self.channels else 1
        rows = (
            [(mean, var)] if parts == 1 else list(zip(mean.split(self.channels), var.split(self.channels), strict=True))
        )
        self.batch.update(zip(edges, rows * (len(edges) // parts), strict=True))
        return mean, var


def _rows(table: Sequence[Tensor] | Tensor | None, edges: Sequence[int]) -> Tensor | None:
    if table is None:
        return None
    return table[edges[0]] if len(edges) == 1 else torch.cat([table[edge] for edge in edges])
