"""The convolutions' products of a cell, alone: what `bench.tune` runs with other tiles.

A product is the forward one, the input gradient or the weight gradient of the edges that leave a group of sources: the
input of an individual cell (four edges), or the four inputs of an aggregation cell (two edges each). bf16, the paper's
channels and sizes. A setting is a row of the tile table for the product, and its ``columns``.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from autopose.kernels._triton import launch
from autopose.kernels._triton.mixed_edge.products import TritonConvolutions
from bench.cases import CELLS

PRODUCTS = ("input", "forward", "weight")
GROUPS = {4: ("individual_cell", 1), 2: ("aggregation_cell", 4)}
"""By a source's edges: the cell, and how many of its inputs go together."""

COLUMNS = (32, 64, 128)
COLD = 2**27
"""Bytes that copies of a problem take at least, so that no result of one call lies in a cache for the next."""


def candidates(product: str) -> Iterator[dict]:
    """Settings to try."""
    for columns, warps, stages in itertools.product(COLUMNS, (4, 8), (1, 2, 3)):
        common = {"columns": columns, "num_warps": warps, "num_stages": stages}
        if product == "weight":
            yield from ({"rows": 128, "pixels": pixels, **common} for pixels in (32, 64, 128))
        else:
            yield from ({"rows": rows, **common} for rows in (64, 128))


def committed(product: str, channels: int) -> dict:
    """The setting of the tile table."""
    table = launch.tile_table()
    return {**table[product][str(channels)], "columns": table["columns"][str(channels)]}


@contextmanager
def applied(product: str, channels: int, setting: dict) -> Iterator[None]:
    """The tile table holds ``setting``, and ends as it began."""
    table, width = launch.tile_table(), str(channels)
    before = table[product][width], table["columns"][width]
    table[product][width] = {name: value for name, value in setting.items() if name != "columns"}
    table["columns"][width] = setting["columns"]
    try:
        yield
    finally:
        table[product][width], table["columns"][width] = before


class Product:
    """Tensors of one product, ``copies`` times.

    Args:
        edges: of each source: a key of `GROUPS`.
        size: height and width of the states.
        copies: as many as reach `COLD` where None.
    """

    def __init__(
        self, product: str, channels: int, edges: int, size: tuple[int, int], batch: int, device: str,
        copies: int | None = None,
    ):  # fmt: skip
        (inputs, nodes), count = CELLS[GROUPS[edges][0]], GROUPS[edges][1]
        self.product, self.channels = product, channels
        self.cell, self.sources = launch.Cell(inputs, nodes, batch, *size, channels), range(count)
        draws, dtype = torch.Generator().manual_seed(0), torch.bfloat16

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draws).to(device)

        pixels = self.cell.pixels
        self.kept = launch.planes(self.cell, dtype, torch.device(device), launch.switches())
        least = 2 * pixels * channels * count * (1 + self.kept * edges)
        self.copies = copies or max(2, -(-COLD // least))
        active = draw(count, batch, *size, channels).relu().to(dtype)
        dy = draw(count, edges, 3 if product == "weight" else self.kept, pixels * channels).to(dtype)
        self.convs = tuple(draw(self.cell.edges, channels, channels, k, k) / k / channels**0.5 for k in (1, 3, 5))
        self.active, self.dy = ([t.clone() for _ in range(self.copies)] for t in (active, dy))
        y = torch.zeros(self.cell.edges, self.kept, pixels, channels, dtype=dtype, device=device)
        self.y = [y.clone() for _ in self.active]
        self.gradients = [torch.zeros_like(w) for w in self.convs]

    def run(self, setting: dict) -> Callable[[int], list[Tensor]]:
        """A function of a copy's number: the product under ``setting``, with nothing beside its kernel.

        The weight gradient's includes the sum of the cell's partial ones, since a setting decides how many there are.
        """
        with applied(self.product, self.channels, setting):
            wanted = (self.product == "weight",) * 3
            whole = TritonConvolutions(self.cell, torch.bfloat16, wanted, self.kept, gathers=False)
            group = whole.group(self.sources)
        packed = whole.weights(self.convs, self.active[0])
        room, dx = whole.gradient_room(self.gradients, self.active[0]), torch.empty_like(self.active[0])

        def forward(copy: int) -> list[Tensor]:
            group.forward(self.active[copy], packed, self.y[copy])
            return [self.y[copy]]

        def input_gradient(copy: int) -> list[Tensor]:
            group.backward(None, packed, self.dy[copy], (None,) * 4, dx=dx)
            return [dx]

        def weight_gradient(copy: int) -> list[Tensor]:
            group.weights(self.active[copy], self.dy[copy], room[0])
            whole.unpack(room)
            return self.gradients

        return {"forward": forward, "input": input_gradient, "weight": weight_gradient}[self.product]

    def result(self, setting: dict) -> list[Tensor]:
        """What the product gives under ``setting``; what it leaves unwritten is not a number."""
        for t in (self.y[0], *self.gradients):
            t.fill_(float("nan"))
        found = [t.clone() for t in self.run(setting)(0)]
        if self.product == "input":
            return found
        edges = [edge for source in self.sources for edge in self.cell.out_of(source)]
        return [t[edges] for t in found]
