"""A cell's edges sorted by source, and its small tables in that order: E edges, C channels, e edges of one source."""

from functools import lru_cache

import torch
from torch import Tensor

from ..topology import IDENTITY, NUM_NORMED, Topology


@lru_cache(maxsize=64)
def _orders(cell: Topology, device: torch.device) -> tuple[Tensor, Tensor]:
    """The edges sorted by source, and the rank of every edge in that order."""
    order = torch.tensor([edge for edges in cell.by_source() for edge in edges], device=device)
    return order, order.argsort()


class Tables:
    """Mixing weights, affine parameters and (unless the batch's are used) statistics, in the dtype of statistics.

    ``scales[s]`` (5, e, C or 1) is mixing weight times affine weight, ``skip[s]`` (e,) the identity's weight and
    ``shift[s]`` (e, C) the weighted sum of affine biases, of the edges that leave source s.
    """

    def __init__(self, cell: Topology, dtype, mix, weight, bias, mean, var, eps: float, group: str):
        self.eps, self.group = eps, group
        self.order, self.inverse = _orders(cell, mix.device)
        self.slots = [len(edges) for edges in cell.by_source()]
        self.mix = mix.to(dtype)[self.order]
        self.weight, self.bias, self.mean, self.var = (self._sorted(t, dtype) for t in (weight, bias, mean, var))
        weights = self.mix[:, :NUM_NORMED].t().unsqueeze(-1)
        self.scales = (weights if self.weight is None else weights * self.weight).split(self.slots, 1)
        self.skip = self.mix[:, IDENTITY].split(self.slots)
        self.shift = None if self.bias is None else (weights * self.bias).sum(0).split(self.slots)
        self._running = None
        if self.mean is not None:
            self._running = list(zip(self.mean.split(self.slots, 1), self.var.split(self.slots, 1), strict=True))

    def running(self, source: int) -> tuple[Tensor, Tensor] | None:
        """The given mean and variance of a source's outputs, each (5, e, C), or None."""
        return None if self._running is None else self._running[source]

    def sort_statistics(self, mean: Tensor, var: Tensor) -> list[tuple[Tensor, ...]]:
        """(E, 5, C) statistics as (5, e, C) for every source."""
        return [self._sorted(t, self.mix.dtype).split(self.slots, 1) for t in (mean, var)]

    def unsort(self, parts) -> Tensor:
        """(5, e, C) for every source as (E, 5, C) in the order of the edges."""
        return torch.cat(list(parts), 1).transpose(0, 1)[self.inverse]

    def gradients(self, sums) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Gradients of mix, affine weight and bias from every source's sum(g), sum(g * normalised), sum(g * state)."""
        first, second, skip = (
            torch.cat(parts, axis) for parts, axis in zip(zip(*sums, strict=True), (0, 1, 0), strict=True)
        )
        products = second if self.weight is None else second * self.weight + first * self.bias
        mix = torch.cat([products.sum(-1).t(), skip.sum(-1, keepdim=True)], 1)[self.inverse]
        if self.weight is None:
            return mix, None, None
        weights = self.mix[:, :NUM_NORMED].t().unsqueeze(-1)
        return mix, *((t * weights).transpose(0, 1)[self.inverse] for t in (second, first))

    def _sorted(self, table: Tensor | None, dtype) -> Tensor | None:
        return None if table is None else table.to(dtype)[self.order].transpose(0, 1)
