"""The convolutions of a cell's mixed edges, merged by source: by Triton or by the library (cuDNN, ATen)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...dispatch import interpreting
from ...topology import CONV_TAPS, NUM_CONVS, NUM_POOLS, NUM_TAPS, input_gradient_splits
from ..launch import (
    PARTS,
    PROGRAMS,
    REGISTERS,
    Cell,
    Launch,
    Tiles,
    group_counters,
    power_of_two,
    span,
    tile_table,
    width,
)
from .forward import collect_kernel
from .input_gradient import input_gradient_kernel
from .pack import pack_kernel, unpack_kernel
from .taps import taps_kernel, weight_gradient_kernel

STORED = dict(PLANES=NUM_CONVS, UPCAST=False, PRECISION="ieee")
"""What kernels beside the products take where the 1x1's raw outputs are planes of y like others."""


NARROW = {32: 3, 16: 4, 8: 5}
"""Programs of the forward product, up to 32 channels, that fit a multiprocessor, by the values of a convolution that a
thread sums: the compiler is held to it where it would take more registers to bring moments together."""


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


@dataclass(frozen=True)
class WeightTiles:
    """Tiles of the weight gradient: ``taps`` times ``rows`` input channels, in ``splits`` of ``steps`` x ``pixels``."""

    taps: int
    rows: int
    pixels: int
    tap_groups: int
    steps: int
    splits: int

    @classmethod
    def of(cls, cell: Cell) -> "WeightTiles":
        """As many splits in every group, so that one launch sums all: about PROGRAMS programs in a group of the mean.

        A group of many edges gets more programs than it would by itself, one of few edges fewer.
        """
        tile, _ = settings("weight", cell)
        rows = min(max(power_of_two(cell.channels), 16), tile["rows"])
        taps, pixels = tile["rows"] // rows, tile["pixels"]
        tap_groups = sum(-(-of_conv // taps) for of_conv in CONV_TAPS) * -(-cell.channels // rows)
        groups = [(len(sources), cell.slots(sources[0])) for sources in cell.groups(True)]
        columns = sum(count * ProductTiles.of(cell, slots).columns(slots) for count, slots in groups)
        blocks = -(-cell.pixels // pixels)
        programs = max(1, PROGRAMS * len(groups) // (tap_groups * columns))
        steps = -(-blocks // min(programs, blocks))
        return cls(taps, rows, pixels, tap_groups, steps, -(-blocks // steps))


def settings(product: str, cell: Cell) -> tuple[dict, dict]:
    """Tile sizes and launch options of the ``forward``, ``input`` or ``weight`` product, from the committed table."""
    row = tile_table()[product][width(cell)]
    launch = {name: row[name] for name in ("num_warps", "num_stages")}
    return {name: size for name, size in row.items() if name not in launch}, launch


class TritonConvolutions:
    """Triton's implicit matrix products; float32 in full precision unless cuDNN is allowed tf32.

    ``wanted``: which of the three convolutions' weights get gradients. ``planes``: see `launch.planes`; ``pointwise``
    are the options of all kernels that it concerns. ``gathers``: whether the input gradient may gather the gradients of
    x from pools and identity. ``pack_grid`` and ``pack_tile`` are the pack kernel's.
    """

    grouped, packs = True, True

    def __init__(
        self, cell: Cell, dtype: torch.dtype, wanted: tuple[bool, bool, bool], planes: int, gathers: bool = True
    ):
        self.planes, self.gathers = planes, gathers
        self.cell, self.wanted, self.needs_active = cell, wanted, any(wanted)
        self.half = dtype.itemsize == 2
        self.options = dict(
            UPCAST=interpreting() and self.half,
            PRECISION="tf32" if torch.backends.cudnn.allow_tf32 else "ieee",
        )
        self.pointwise = dict(self.options, PLANES=planes)
        channels = cell.channels
        couts, elements = (16 if channels <= 16 else 32), 64
        self.pack_grid = (cell.edges, -(-channels // couts), pack_blocks(channels, elements))
        self.pack_tile = dict(BO=couts, BJ=elements)
        self._pack = Launch(pack_kernel, self.pack_grid, channels, **self.pack_tile)
        self.weight_tiles = WeightTiles.of(cell)
        self._partial = (self.weight_tiles.splits, cell.edges, NUM_TAPS, channels, channels)
        together = min(power_of_two(self.weight_tiles.splits), 8)
        couts = 16 if channels <= 16 or together > 1 else 32
        elements = 2048 // together // couts
        self.unpack_grid = (cell.edges, -(-channels // couts), pack_blocks(channels, elements, wanted))
        self.unpack_tile = dict(WANT1=wanted[0], WANT3=wanted[1], WANT5=wanted[2], BS=together, BO=couts, BJ=elements)
        self._unpack = Launch(unpack_kernel, self.unpack_grid, channels, self.weight_tiles.splits, **self.unpack_tile)

    def room(self, like: Tensor) -> Tensor:
        """Where packed weights lie, (E, 35, C_in, C_out), in the dtype of ``like``."""
        return like.new_empty(self.cell.edges, NUM_TAPS, self.cell.channels, self.cell.channels)

    def weights(self, conv: tuple[Tensor, Tensor, Tensor], like: Tensor) -> Tensor:
        """All weights, packed."""
        packed = self.room(like)
        self._pack(*conv, packed)
        return packed

    def gradient_room(self, gradients: list[Tensor | None], like: Tensor) -> tuple[Tensor | None, ...]:
        """Where the groups leave partial gradients of the weights, (splits, E, 35, C_in, C_out) float32.

        Behind it the gradients (E, C, C, k, k) themselves, which the group of the inputs sums.
        """
        partial = like.new_empty(self._partial, dtype=torch.float32) if any(self.wanted) else None
        return (partial, *gradients)

    def unpack(self, room: tuple[Tensor | None, ...]) -> None:
        """Sum what all groups have left, in a launch of its own."""
        self._unpack(*room)

    def group(self, sources: range, normalises: "Normalises | None" = None) -> "TritonGroup":
        """The convolutions of the edges that leave ``sources``; ``normalises``: as in `TritonGroup.forward`."""
        return TritonGroup(self, sources, normalises)


@dataclass(frozen=True)
class Normalises:
    """How a forward product normalises; pools by so many moments of so many pixels, or by its own (0)."""

    affine: bool
    eps: float
    pool_parts: int = 0
    pool_rows: int = 0


class TritonGroup:
    """The launches of a group of sources with ``slots`` edges each."""

    gathers = True

    def __init__(self, whole: TritonConvolutions, sources: range, normalises: Normalises | None):
        cell, count, channels = whole.cell, len(sources), whole.cell.channels
        self.wanted, self.pixels, self.channels = whole.wanted, cell.pixels, channels
        slots = cell.slots(sources[0])
        t, size = ProductTiles.of(cell, slots), cell.pixels * channels
        plane = (cell.pixels, cell.height, cell.width, channels)

        tile, launch = settings("forward", cell)
        rows, window = tile["rows"], Tiles.of(cell)
        parts = -(-cell.pixels // rows)
        self._moments = (count, parts + group_counters(parts), 2, slots * NUM_CONVS * channels)
        self._pools = (1, parts + group_counters(parts), 2, NUM_POOLS, channels)
        programs = NARROW.get(rows * t.EB * t.NC // (32 * launch["num_warps"]))
        if channels <= 32 and whole.half and programs:
            launch["maxnreg"] = REGISTERS[programs]
        own = normalises or Normalises(False, 0.0)
        takes, ahead = normalises is not None and not own.pool_parts, NUM_POOLS * window.blocks if own.pool_parts else 0
        self._forward = Launch(
            taps_kernel, (parts + ahead, t.columns(slots) + window.blocks * takes, count), *plane, cell.inputs,
            sources[0], slots, own.pool_parts, own.pool_rows, own.eps,
            BM=rows, EB=t.EB, NC=t.NC, BK=t.NC, KB=t.KB, WHOLE=cell.pixels % rows == 0 and channels % t.NC == 0,
            BP=min(window.rows, rows) * takes, BC=window.lanes, EVEN=window.even, AHEAD=ahead,
            SPAN=span(parts) if normalises else 0, AFFINE=own.affine, **launch, **whole.pointwise,
        )  # fmt: skip

        planes = NUM_CONVS if whole.needs_active else whole.planes
        self.gradient_shape, self.gradient_strides = (count, slots, planes, size), (planes * size, size, channels)
        tile, launch = settings("input", cell)
        splits = input_gradient_splits(size * count) if whole.gathers else 1
        tiles, by_rows = -(-cell.pixels // tile["rows"]), splits == 1 and launch["num_stages"] == 1
        # In a backward pass the inputs come last, when the partial gradients of all weights are there.
        self._unpacks = whole.gathers and sources[0] == 0 and any(whole.wanted)
        if self._unpacks:
            tiles += -(-math.prod(whole.unpack_grid) // (t.KB * count * splits))
            if launch["num_warps"] == 8:  # else the compiler takes more, and one program fits where two did
                launch["maxnreg"] = REGISTERS[4]
        self._input = Launch(
            input_gradient_kernel, (tiles, t.KB, count * splits), *plane, cell.inputs, sources[0], slots, cell.edges,
            whole.weight_tiles.splits, UNPACK=self._unpacks, **whole.unpack_tile,
            BM=tile["rows"], EB=t.EB, NC=t.NC, KB=t.KB, SPLITS=splits, ROWS=by_rows, GATHER=whole.gathers,
            ADD=sources[0] >= cell.inputs, EVEN=channels % t.NC == 0, POINT=whole.planes == NUM_CONVS, PLANES=planes,
            **launch, **whole.options,
        )  # fmt: skip
        self._shares = (splits, count, cell.pixels, channels) if splits > 1 else None

        w = whole.weight_tiles
        self._weight = Launch(
            weight_gradient_kernel, (w.tap_groups, t.columns(slots), w.splits * count), *plane, cell.inputs, sources[0],
            slots, cell.edges, w.steps, w.splits, w.pixels // cell.width % cell.height, w.pixels % cell.width,
            TB=w.taps, NI=w.rows, EB=t.EB, NC=t.NC, BK=w.pixels, **settings("weight", cell)[1], **whole.options,
        )  # fmt: skip

    def forward(
        self, active: Tensor, packed: Tensor, y: Tensor, x: Tensor | None = None, pools: Tensor | None = None,
        tables=(None,) * 3, out=(None,) * 3, counters: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Fill the planes ``y`` of the group's edges; ``active`` (group, N, H, W, C) is the sources' ReLU.

        A group that normalises also fills its edges' rows of ``out`` = (mean, var, coefficients), by ``tables`` =
        (mix, weight, bias): from the moments of ``pools``, or of those of ``x`` where none are given.
        """
        moments = active.new_empty(self._moments, dtype=torch.float32)
        if pools is None:
            pools = active.new_empty(self._pools, dtype=torch.float32)
        self._forward(active, packed, y, moments, x, pools, *tables, *out, counters)

    def backward(
        self, active: Tensor | None, packed: Tensor, dy: Tensor, room: tuple[Tensor | None, ...], others=(None,) * 5,
        dx: Tensor | None = None, counters: Tensor | None = None,
    ) -> None:  # fmt: skip
        """The gradients of the weights and of the sources.

        ``dy`` (group, slots, 3, P * C) are those of the raw outputs, without the 1x1's where it has no plane of y and
        no weight needs it; the weights' go to ``room`` (`TritonConvolutions.gradient_room`), the sources' to ``dx``.
        ``others`` is what `gathered` reads, ``counters`` are the cell's.
        """
        if room[0] is not None:
            self.weights(active, dy, room[0])
        shares = None if self._shares is None else dy.new_empty(self._shares)
        self._input(dy, packed, *others, dx, shares, counters, *(room if self._unpacks else (None,) * 4))

    def weights(self, active: Tensor, dy: Tensor, partial: Tensor) -> None:
        """Partial gradients of the weights of the group's edges."""
        self._weight(active, dy, partial)


class LibraryConvolutions:
    """Merged library convolutions: per source and kernel size one convolution with slots * C output channels.

    Arguments and results are those of `TritonConvolutions` for groups of one source.
    """

    grouped, packs, needs_active = False, False, True
    planes, pointwise = NUM_CONVS, STORED

    def __init__(self, cell: Cell, dtype: torch.dtype, wanted: tuple[bool, bool, bool]):
        self.cell, self.wanted = cell, wanted

    def weights(self, conv: tuple[Tensor, Tensor, Tensor], like: Tensor) -> list[Tensor]:
        """All weights (E, C, C, k, k), in the dtype of ``like``."""
        return [w.to(like.dtype) for w in conv]

    def gradient_room(self, gradients: list[Tensor | None], like: Tensor) -> list[Tensor | None]:
        """The gradients of the weights: the groups write them as they are."""
        return gradients

    def group(self, sources: range, *_) -> "LibraryGroup":
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

    def forward(self, active: Tensor, weights: list[Tensor], y: Tensor, *_) -> Tensor:
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
        """The three convolutions' input gradients (N, H, W, C), before ReLU's mask, and the weights' ``gradients``."""
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
