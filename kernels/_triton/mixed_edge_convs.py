"""The convolutions of a cell's mixed edges, merged by source: by Triton or by the library (cuDNN, ATen)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .launch import Cell, Tiles, convolutions, interpreting, power_of_two, tile_table, width
from .mixed_edge_mix import collect_kernel
from .mixed_edge_taps import input_gradient_kernel, pack_kernel, taps_kernel, unpack_kernel, weight_gradient_kernel

TAPS = 35
PROGRAMS = 528
"""Programs aimed at by the weight gradient's splits: the four that fit each multiprocessor of an H200."""


def prepare(cell: Cell, x: Tensor, conv: tuple[Tensor, Tensor, Tensor], wanted=(False, False, False)):
    """The object that runs a cell's convolutions on states like ``x``; ``wanted``: which weights' gradients are."""
    kind = TritonConvolutions if convolutions(cell, x) == "triton" else LibraryConvolutions
    return kind(cell, x, conv, wanted)


@dataclass(frozen=True)
class ProductTiles:
    """Tiles of a source's matrix products: EB edges times NC channels wide, KB blocks of NC channels cover all."""

    EB: int
    NC: int
    KB: int

    @classmethod
    def of(cls, cell: Cell, slots: int) -> "ProductTiles":
        """As many columns as the committed table has, or fewer."""
        columns = tile_table()["columns"][width(cell)]
        lanes = min(max(power_of_two(cell.channels), 16), columns)
        edges = min(power_of_two(slots), columns // lanes)
        return cls(edges, lanes, -(-cell.channels // lanes))

    def columns(self, slots: int) -> int:
        """Blocks of columns that cover ``slots`` edges."""
        return -(-slots // self.EB) * self.KB


def settings(product: str, cell: Cell) -> tuple[dict, dict]:
    """Tile sizes and launch options of the ``forward``, ``input`` or ``weight`` product, from the committed table."""
    row = tile_table()[product][width(cell)]
    launch = {name: row[name] for name in ("num_warps", "num_stages")}
    return {name: size for name, size in row.items() if name not in launch}, launch


class TritonConvolutions:
    """Triton's implicit matrix products; float32 in full precision unless cuDNN is allowed tf32."""

    grouped = True

    def __init__(self, cell: Cell, x: Tensor, conv: tuple[Tensor, Tensor, Tensor], wanted: tuple[bool, bool, bool]):
        self.cell, self.wanted, self.needs_active = cell, wanted, any(wanted)
        self.gradients = [torch.empty_like(w) if want else None for w, want in zip(conv, wanted, strict=True)]
        self.packed = x.new_empty(cell.edges, TAPS, cell.channels, cell.channels)
        self.options = dict(
            UPCAST=interpreting() and x.element_size() == 2,
            PRECISION="tf32" if torch.backends.cudnn.allow_tf32 else "ieee",
        )
        block = 16 if cell.channels <= 16 else 32
        blocks = -(-cell.channels // block)
        pack_kernel[cell.edges, blocks, blocks](*conv, self.packed, cell.channels, BLOCK=block)

    def _sizes(self) -> tuple[int, int, int, int]:
        return self.cell.pixels, self.cell.height, self.cell.width, self.cell.channels

    def forward(self, group: range, active: Tensor, y: Tensor) -> tuple[Tensor, int, int]:
        """Fill the planes ``y`` of the edges of a group's sources; ``active`` (group, N, H, W, C) is their ReLU.

        Returns partial moments (group, T, 2, slots * 3 * C), T and pixels a part.
        """
        cell, slots = self.cell, self.cell.slots(group[0])
        t = ProductTiles.of(cell, slots)
        tile, launch = settings("forward", cell)
        rows = tile["rows"]
        parts = -(-cell.pixels // rows)
        stats = active.new_empty(len(group), parts, 2, slots * 3 * cell.channels, dtype=torch.float32)
        taps_kernel[parts, t.columns(slots), len(group)](
            active, self.packed, y, stats, *self._sizes(), cell.sources, group[0], slots,
            BM=rows, EB=t.EB, NC=t.NC, BK=t.NC, KB=t.KB, **launch, **self.options,
        )  # fmt: skip
        return stats, parts, rows

    def allocate(self, group: range, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Room for the raw outputs' gradients, (group, slots, 3, P, C); its strides by edge, kernel size and pixel."""
        size = self.cell.pixels * self.cell.channels
        return x.new_empty(len(group), self.cell.slots(group[0]), 3, size), (3 * size, size, self.cell.channels)

    def backward(self, group: range, active: Tensor | None, dy: Tensor) -> list[Tensor]:
        """The sum of the convolutions' input gradients (group, P, C), before ReLU's mask; keeps the weights'."""
        cell, slots = self.cell, self.cell.slots(group[0])
        t = ProductTiles.of(cell, slots)
        tile, launch = settings("input", cell)
        rows = tile["rows"]
        dx = dy.new_empty(len(group), cell.pixels, cell.channels)
        input_gradient_kernel[-(-cell.pixels // rows), t.KB, len(group)](
            dy, self.packed, dx, *self._sizes(), cell.sources, group[0], slots,
            BM=rows, EB=t.EB, NC=t.NC, KB=t.KB, **launch, **self.options,
        )  # fmt: skip
        if self.needs_active:
            self.weights(group, active, dy)
        return [dx]

    def weights(self, group: range, active: Tensor, dy: Tensor) -> None:
        """Gradients of the weights of a group's edges, for those of the raw outputs, dy (group, slots, 3, P, C)."""
        cell, slots = self.cell, self.cell.slots(group[0])
        t = ProductTiles.of(cell, slots)
        tile, launch = settings("weight", cell)
        rows = min(max(power_of_two(cell.channels), 16), tile["rows"])
        taps, pixels = tile["rows"] // rows, tile["pixels"]
        groups = (-(-25 // taps) + -(-9 // taps) + 1) * -(-cell.channels // rows)
        blocks = -(-cell.pixels // pixels)
        programs = max(1, PROGRAMS // (groups * t.columns(slots) * len(group)))
        steps = -(-blocks // min(programs, blocks))
        splits = -(-blocks // steps)
        partial = dy.new_empty(len(group), splits, slots, TAPS, cell.channels, cell.channels, dtype=torch.float32)
        weight_gradient_kernel[groups, t.columns(slots), splits * len(group)](
            active, dy, partial, *self._sizes(), slots, steps, splits,
            TB=taps, NI=rows, EB=t.EB, NC=t.NC, BK=pixels, **launch, **self.options,
        )  # fmt: skip
        block = 256 if cell.channels <= 16 else 1024
        unpack_kernel[len(group) * slots * TAPS, -(-(cell.channels**2) // block)](
            partial, *self.gradients, cell.channels, cell.sources, group[0], slots, splits,
            WANT1=self.wanted[0], WANT3=self.wanted[1], WANT5=self.wanted[2], BS=2048 // block, BLOCK=block,
        )  # fmt: skip

    def weight_gradients(self) -> list[Tensor | None]:
        """Gradients (E, C, C, k, k) of all edges."""
        return self.gradients


class LibraryConvolutions:
    """Merged library convolutions: per source and kernel size one convolution with slots * C output channels.

    Arguments and results are those of `TritonConvolutions` for groups of one source.
    """

    grouped, needs_active = False, True

    def __init__(self, cell: Cell, x: Tensor, conv: tuple[Tensor, Tensor, Tensor], wanted: tuple[bool, bool, bool]):
        self.cell, self.wanted = cell, wanted
        self.conv = [w.to(x.dtype) for w in conv]
        self.gradients = [torch.empty_like(w) if want else None for w, want in zip(conv, wanted, strict=True)]

    def _merged(self, source: int) -> list[Tensor]:
        """Weights (slots * C, C, k, k) of a source's edges, channels_last."""
        edges = self.cell.edges_of(source)
        merged = [torch.cat([w[e] for e in edges]) for w in self.conv]
        return [w.contiguous(memory_format=torch.channels_last) for w in merged]

    def forward(self, group: range, active: Tensor, y: Tensor) -> tuple[Tensor, int, int]:
        """Fill the planes ``y`` of a source's edges; partial moments (1, T, 2, slots * 3 * C), T and pixels a part."""
        cell, source = self.cell, group[0]
        slots = cell.slots(source)
        with torch.autocast("cuda" if active.is_cuda else "cpu", enabled=False):
            outs = [F.conv2d(active[0].permute(0, 3, 1, 2), w, padding=w.shape[-1] // 2) for w in self._merged(source)]
        outs = [o.contiguous(memory_format=torch.channels_last) for o in outs]
        tiles = Tiles.of(cell, -(-1024 // slots))
        stats = active.new_empty(1, tiles.parts, 2, slots * 3 * cell.channels, dtype=torch.float32)
        collect_kernel[tiles.parts, slots, tiles.blocks](
            *outs, y, stats, cell.pixels, cell.channels, cell.sources, source, slots, tiles.repeat,
            BP=tiles.rows, BC=tiles.lanes,
        )  # fmt: skip
        return stats, tiles.parts, tiles.rows * tiles.repeat

    def allocate(self, group: range, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Room for the raw outputs' gradients, (3, P, slots * C), and its strides by edge, kernel size and pixel."""
        wide = self.cell.slots(group[0]) * self.cell.channels
        dy = x.new_empty(3, *x.shape[1:4], wide)
        return dy, (self.cell.channels, self.cell.pixels * wide, wide)

    def backward(self, group: range, active: Tensor, dy: Tensor) -> list[Tensor]:
        """The three convolutions' input gradients (N, H, W, C), before ReLU's mask; keeps the weights' gradients."""
        source, through = group[0], []
        for k, weight in enumerate(self._merged(source)):
            dx, dweight, _ = torch.ops.aten.convolution_backward(
                dy[k].permute(0, 3, 1, 2), active[0].permute(0, 3, 1, 2), weight, None, [1, 1], [k, k], [1, 1], False,
                [0, 0], 1, [True, self.wanted[k], False],
            )  # fmt: skip
            through.append(dx.permute(0, 2, 3, 1).contiguous())
            if self.wanted[k]:
                for edge, part in zip(self.cell.edges_of(source), dweight.chunk(self.cell.slots(source)), strict=True):
                    self.gradients[k][edge].copy_(part)
        return through

    def weight_gradients(self) -> list[Tensor | None]:
        """Gradients (E, C, C, k, k) of all edges."""
        return self.gradients
