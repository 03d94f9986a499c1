"""The convolutions of a cell's mixed edges, merged by source: by Triton or by the library (cuDNN, ATen)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dispatch import interpreting
from ...topology import CONV_TAPS, NUM_CONVS, NUM_TAPS, input_gradient_splits
from ..launch import PARTS, PROGRAMS, Cell, Launch, Tiles, power_of_two, tile_table, width
from .forward import collect_kernel
from .input_gradient import input_gradient_kernel
from .pack import pack_kernel, unpack_kernel
from .taps import taps_kernel, weight_gradient_kernel


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


def pack_blocks(channels: int, elements: int, wanted=(True, True, True)) -> int:
    """Blocks of ``elements`` (C_in, k, k) of all wanted convolutions."""
    return sum(-(-channels * taps // elements) for taps, want in zip(CONV_TAPS, wanted, strict=True) if want)


def settings(product: str, cell: Cell) -> tuple[dict, dict]:
    """Tile sizes and launch options of the ``forward``, ``input`` or ``weight`` product, from the committed table."""
    row = tile_table()[product][width(cell)]
    launch = {name: row[name] for name in ("num_warps", "num_stages")}
    return {name: size for name, size in row.items() if name not in launch}, launch


class TritonConvolutions:
    """Triton's implicit matrix products; float32 in full precision unless cuDNN is allowed tf32.

    ``wanted``: which of the three convolutions' weights get gradients. ``gathers``: whether the input gradient may
    gather the gradients of x from pools and identity.
    """

    grouped, packs = True, True

    def __init__(self, cell: Cell, dtype: torch.dtype, wanted: tuple[bool, bool, bool], gathers: bool = True):
        self.gathers = gathers
        self.cell, self.wanted, self.needs_active = cell, wanted, any(wanted)
        self.options = dict(
            UPCAST=interpreting() and dtype.itemsize == 2,
            PRECISION="tf32" if torch.backends.cudnn.allow_tf32 else "ieee",
        )
        couts, elements = (16 if cell.channels <= 16 else 32), 64
        grid = (cell.edges, -(-cell.channels // couts), pack_blocks(cell.channels, elements))
        self._pack = Launch(pack_kernel, grid, cell.channels, BO=couts, BJ=elements)

    def weights(self, conv: tuple[Tensor, Tensor, Tensor], like: Tensor) -> Tensor:
        """All weights (E, 35, C_in, C_out), in the dtype of ``like``."""
        packed = like.new_empty(self.cell.edges, NUM_TAPS, self.cell.channels, self.cell.channels)
        self._pack(*conv, packed)
        return packed

    def group(self, sources: range) -> "TritonGroup":
        """The convolutions of the edges that leave ``sources``."""
        return TritonGroup(self, sources)


class TritonGroup:
    """The launches of a group of sources with ``slots`` edges each."""

    def __init__(self, whole: TritonConvolutions, sources: range):
        cell, count, channels = whole.cell, len(sources), whole.cell.channels
        self.wanted, self.pixels, self.channels = whole.wanted, cell.pixels, channels
        slots = cell.slots(sources[0])
        t, size = ProductTiles.of(cell, slots), cell.pixels * channels
        plane = (cell.pixels, cell.height, cell.width, channels)

        tile, launch = settings("forward", cell)
        self.rows = tile["rows"]
        self.parts = -(-cell.pixels // self.rows)
        self._moments = (count, self.parts, 2, slots * NUM_CONVS * channels)
        self._forward = Launch(
            taps_kernel, (self.parts, t.columns(slots), count), *plane, cell.inputs, sources[0], slots,
            BM=self.rows, EB=t.EB, NC=t.NC, BK=t.NC, KB=t.KB, **launch, **whole.options,
        )  # fmt: skip

        self.gradient_shape, self.gradient_strides = (count, slots, NUM_CONVS, size), (NUM_CONVS * size, size, channels)
        tile, launch = settings("input", cell)
        splits = input_gradient_splits(size * count) if whole.gathers else 1
        self.gathers, by_rows = whole.gathers and splits == 1, splits == 1 and launch["num_stages"] == 1
        self._input = Launch(
            input_gradient_kernel, (-(-cell.pixels // tile["rows"]), t.KB, count * splits), *plane, cell.inputs,
            sources[0], slots, BM=tile["rows"], EB=t.EB, NC=t.NC, KB=t.KB, SPLITS=splits, ROWS=by_rows,
            GATHER=self.gathers, ADD=sources[0] >= cell.inputs, EVEN=channels % t.NC == 0, **launch, **whole.options,
        )  # fmt: skip
        self._shares = (splits, count, cell.pixels, channels)

        tile, launch = settings("weight", cell)
        rows = min(max(power_of_two(channels), 16), tile["rows"])
        taps, pixels = tile["rows"] // rows, tile["pixels"]
        tap_groups = sum(-(-of_conv // taps) for of_conv in CONV_TAPS) * -(-channels // rows)
        blocks = -(-cell.pixels // pixels)
        programs = max(1, PROGRAMS // (tap_groups * t.columns(slots) * count))
        steps = -(-blocks // min(programs, blocks))
        splits = -(-blocks // steps)
        self._partial = (count, splits, slots, NUM_TAPS, channels, channels)
        self._weight = Launch(
            weight_gradient_kernel, (tap_groups, t.columns(slots), splits * count), *plane, slots, steps, splits,
            pixels // cell.width % cell.height, pixels % cell.width, TB=taps, NI=rows, EB=t.EB, NC=t.NC, BK=pixels,
            **launch, **whole.options,
        )  # fmt: skip
        together = min(power_of_two(splits), 8)
        couts = 16 if channels <= 16 or together > 1 else 32
        elements = 2048 // together // couts
        grid = (count * slots, -(-channels // couts), pack_blocks(channels, elements, self.wanted))
        self._unpack = Launch(
            unpack_kernel, grid, channels, cell.inputs, sources[0], slots, splits, WANT1=self.wanted[0],
            WANT3=self.wanted[1], WANT5=self.wanted[2], BS=together, BO=couts, BJ=elements,
        )  # fmt: skip

    def forward(self, active: Tensor, packed: Tensor, y: Tensor) -> Tensor:
        """Fill the planes ``y`` of the group's edges; ``active`` (group, N, H, W, C) is the sources' ReLU.

        Returns partial moments (group, parts, 2, slots * 3 * C), ``rows`` pixels a part.
        """
        moments = active.new_empty(self._moments, dtype=torch.float32)
        self._forward(active, packed, y, moments)
        return moments

    def backward(
        self, active: Tensor | None, packed: Tensor, dy: Tensor, gradients: list[Tensor | None], others=(None,) * 6,
        dx: Tensor | None = None,
    ) -> list[Tensor]:  # fmt: skip
        """The gradients of the weights and of the sources.

        ``dy`` (group, slots, 3, P * C) are those of the raw outputs; the weights' go to ``gradients``. Where the group
        ``gathers``, the sources' go to ``dx`` and nothing is returned; ``others`` are x and the rest of what
        `gathered` reads. Else the convolutions' part of it is returned, before ReLU's mask, in shares (group, P, C).
        """
        if any(self.wanted):
            self.weights(active, dy, gradients)
        if self.gathers:
            self._input(dy, packed, *others, dx)
            return []
        shares = dy.new_empty(self._shares)
        self._input(dy, packed, *(None,) * 6, shares)
        return list(shares.unbind(0))

    def weights(self, active: Tensor, dy: Tensor, gradients: list[Tensor | None]) -> None:
        """Gradients of the weights, (E, C, C, k, k), of the group's edges."""
        partial = dy.new_empty(self._partial, dtype=torch.float32)
        self._weight(active, dy, partial)
        self._unpack(partial, *gradients)


class LibraryConvolutions:
    """Merged library convolutions: per source and kernel size one convolution with slots * C output channels.

    Arguments and results are those of `TritonConvolutions` for groups of one source.
    """

    grouped, packs, needs_active = False, False, True

    def __init__(self, cell: Cell, dtype: torch.dtype, wanted: tuple[bool, bool, bool]):
        self.cell, self.wanted = cell, wanted

    def weights(self, conv: tuple[Tensor, Tensor, Tensor], like: Tensor) -> list[Tensor]:
        """All weights (E, C, C, k, k), in the dtype of ``like``."""
        return [w.to(like.dtype) for w in conv]

    def group(self, sources: range) -> "LibraryGroup":
        """The convolutions of the edges that leave the only one of ``sources``."""
        return LibraryGroup(self.cell, sources[0], self.wanted)


class LibraryGroup:
    """The convolutions of one source with ``slots`` edges."""

    gathers = False

    def __init__(self, cell: Cell, source: int, wanted: tuple[bool, bool, bool]):
        self.edges, self.wanted = cell.out_of(source), wanted
        slots, wide = len(self.edges), len(self.edges) * cell.channels
        tiles = Tiles.of(cell, -(-PARTS // slots))
        self.parts, self.rows = tiles.parts, tiles.rows * tiles.repeat
        self._moments = (1, tiles.parts, 2, NUM_CONVS * wide)
        self._collect = Launch(
            collect_kernel, (tiles.parts, slots, tiles.blocks), cell.pixels, cell.channels, cell.inputs, source, slots,
            tiles.repeat, BP=tiles.rows, BC=tiles.lanes,
        )  # fmt: skip
        self.gradient_shape = (NUM_CONVS, cell.batch, cell.height, cell.width, wide)
        self.gradient_strides = (cell.channels, cell.pixels * wide, wide)

    def _merged(self, weights: list[Tensor]) -> list[Tensor]:
        """Weights (slots * C, C, k, k), channels_last."""
        merged = [torch.cat([w[e] for e in self.edges]) for w in weights]
        return [w.contiguous(memory_format=torch.channels_last) for w in merged]

    def forward(self, active: Tensor, weights: list[Tensor], y: Tensor) -> Tensor:
        """Fill the planes ``y`` of the source's edges; partial moments (1, parts, 2, slots * 3 * C)."""
        x = active[0].permute(0, 3, 1, 2)
        with torch.autocast("cuda" if active.is_cuda else "cpu", enabled=False):
            outs = [F.conv2d(x, w, padding=w.shape[-1] // 2) for w in self._merged(weights)]
        outs = [o.contiguous(memory_format=torch.channels_last) for o in outs]
        moments = active.new_empty(self._moments, dtype=torch.float32)
        self._collect(*outs, y, moments)
        return moments

    def backward(
        self, active: Tensor, weights: list[Tensor], dy: Tensor, gradients: list[Tensor | None], *_
    ) -> list[Tensor]:
        """The three convolutions' input gradients (N, H, W, C), before ReLU's mask, and the weights' gradients."""
        x, through = active[0].permute(0, 3, 1, 2), []
        for k, weight in enumerate(self._merged(weights)):
            dx, dweight, _ = torch.ops.aten.convolution_backward(
                dy[k].permute(0, 3, 1, 2), x, weight, None, [1, 1], [k, k], [1, 1], False, [0, 0], 1,
                [True, self.wanted[k], False],
            )  # fmt: skip
            through.append(dx.permute(0, 2, 3, 1).contiguous())
            if self.wanted[k]:
                for edge, part in zip(self.edges, dweight.chunk(len(self.edges)), strict=True):
                    gradients[k][edge].copy_(part)
        return through
