"""Launches, and the sizes and settings that the Triton kernels share."""

import contextlib
import json
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from ..dispatch import interpreting
from ..topology import NUM_CONVS, NUM_TAPS, Topology

ELEMENTS = 1024
"""Elements of a tile of the pointwise kernels: one 16-byte load of half precision a thread with four warps."""

PARTS = 1024
"""Programs aimed at by the kernels that reduce over pixels."""

PROGRAMS = 528
"""Programs aimed at by the splits of weight gradients: the four that fit each multiprocessor of an H200."""

MOST_GROUPS = 64
"""Of the parts of a sum: as many partial results are brought together at once."""

REGISTERS = {3: 168, 4: 128, 5: 96}
"""Of a thread, at most, where so many programs of four warps are to fit a multiprocessor: it has 65,536."""

LEAST_ROWS = 32
"""Pixels of the smallest tile of a product that `bench.tune` tries."""

TILES = Path(__file__).parent / "tiles.json"
VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])


class Launch:
    """A kernel with its grid, sizes and constants: all but its tensors, which come first in its signature.

    From the second time on it is launched as it was compiled, without Triton asking again what every argument is, which
    takes longer than many of these kernels run. So one `Launch` only ever gets tensors of the same `kinds`. (Triton
    before 3.6 takes the arguments of a compiled kernel in another way, and is asked every time.) Products and sums are
    fused, which is Triton's default only up to 3.9.
    """

    def __init__(self, kernel, grid: tuple[int, ...], *sizes: float, **options):
        self.kernel, self.grid, self.sizes = kernel, (*grid, 1, 1)[:3], sizes
        self.options = dict(options, enable_fp_fusion=True)
        self._compiled, self._rest = None, ()

    def __call__(self, *tensors: Tensor | None) -> None:
        if self._compiled is not None:
            self._compiled(*tensors, *self._rest)
            return
        # None where nothing was compiled: in the interpreter.
        compiled = self.kernel[self.grid](*tensors, *self.sizes, **self.options)
        if compiled is not None and VERSION >= (3, 6):
            names = self.kernel.arg_names[len(tensors) + len(self.sizes) :]
            self._rest = (*self.sizes, *(self.options[name] for name in names))
            self._compiled = compiled[self.grid]


def kinds(*tensors: Tensor | None) -> tuple:
    """What a compiled kernel depends on in its tensors of one device, hashable: dtypes and alignment."""
    return tuple([None if t is None else (t.dtype, t.data_ptr() % 16) for t in tensors])


@dataclass(frozen=True)
class Cell(Topology):
    """A cell and the sizes of its states: batch, height, width and channels of every one."""

    batch: int
    height: int
    width: int
    channels: int

    @property
    def pixels(self) -> int:
        return self.batch * self.height * self.width

    @property
    def counters(self) -> int:
        """Counters of a cell: more than any launch needs, for its sums' groups or the tiles of an input gradient."""
        parts, blocks = -(-self.pixels // 16), -(-self.channels // 16)  # none is smaller
        return blocks * ((self.edges + self.sources) * (torch.sym_min(parts, MOST_GROUPS) + 1) + self.inputs * parts)

    def groups(self, together: bool) -> list[range]:
        """Sources that share their launches: all inputs, where they may go ``together``, then every node by itself."""
        inputs = [range(self.inputs)] if together else [range(s, s + 1) for s in range(self.inputs)]
        return [*inputs, *(range(s, s + 1) for s in range(self.inputs, self.sources))]


@dataclass(frozen=True)
class Tiles:
    """Tiles of the pointwise and reducing kernels: ``rows`` pixels x ``lanes`` channels, ``repeat`` tiles a program.

    ``even``: the lanes cover the channels exactly.
    """

    rows: int
    lanes: int
    repeat: int
    parts: int
    blocks: int
    even: bool

    @classmethod
    def of(cls, cell: Cell, programs: int | None = None) -> "Tiles":
        """One tile a program, or as many as leave about ``programs`` of them."""
        lanes = min(max(power_of_two(cell.channels), 16), 64)
        rows = ELEMENTS // lanes
        tiles = -(-cell.pixels // rows)
        repeat = 1 if programs is None else -(-tiles // programs)
        return cls(rows, lanes, repeat, -(-tiles // repeat), -(-cell.channels // lanes), cell.channels % lanes == 0)


def span(parts: int) -> int:
    """Parts of a group, which the last of their programs brings together: about the root of all, a power of two."""
    return power_of_two(max(math.isqrt(parts - 1) + 1, -(-parts // MOST_GROUPS)))


def group_counters(parts: int) -> int:
    """Counters of programs that share a sum over ``parts``: one a group of `span`, and one of the groups."""
    return -(-parts // span(parts)) + 1


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << (n - 1).bit_length()


def contiguous(*tensors: Tensor | None) -> tuple:
    """The tensors, those that are there, as their kernels read them."""
    return tuple(t if t is None else t.contiguous() for t in tensors)


def on_device(x: Tensor):
    """Context in which Triton launches on x's device."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else contextlib.nullcontext()


def check_size(cell: Cell) -> None:
    """Raise ValueError for a cell too large for the kernels' 32-bit offsets."""
    # Mean and squared deviations of every part; a program's last tile may end as far beyond the pixels as they reach.
    parts = -(-cell.pixels // LEAST_ROWS)
    moments = (parts + MOST_GROUPS) * 2 * NUM_CONVS * cell.edges * cell.channels
    weights = cell.slots(0) * NUM_TAPS * cell.channels**2
    for what, count, limit, instead in (
        ("inputs of fewer than 2^31 elements", cell.pixels * cell.channels, 2**31, "use a smaller batch"),
        ("inputs of at most 2^30 pixels", cell.pixels, 2**30 + 1, "use a smaller batch"),
        ("fewer than 2^31 moments of its edges", moments, 2**31, "use a smaller batch"),
        ("fewer than 2^31 weights of a source's edges", weights, 2**31, "use fewer channels"),
    ):
        if count >= limit:
            raise ValueError(f"mixed_edges takes {what}, got {count}: {instead}")


def _accept_any_numpy() -> None:
    """Let the interpreter of Triton before 3.9 loop up to run-time integers.

    It makes an int of an array of one element, which NumPy 2.5 refuses.
    """
    from triton.runtime import interpreter

    plain = interpreter._patch_lang_tensor

    def patched(tensor, *scope):
        plain(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


if interpreting() and VERSION < (3, 9):
    _accept_any_numpy()


@lru_cache
def tile_table() -> dict:
    """The committed tile sizes, ``tiles.json``."""
    return json.loads(TILES.read_text(encoding="utf-8"))


class Switches(NamedTuple):
    """What overrules the table, AUTOPOSE_TAPS and AUTOPOSE_POINTWISE, and whether float32 products may be of tf32."""

    taps: str
    pointwise: str
    tf32: bool


def switches() -> Switches:
    """Those that stand."""
    return Switches(
        os.environ.get("AUTOPOSE_TAPS", ""), os.environ.get("AUTOPOSE_POINTWISE", ""), torch.backends.cudnn.allow_tf32
    )


def convolutions(cell: Cell, dtype: torch.dtype, device: torch.device, forced: str) -> str:
    """Who runs the convolutions: ``triton`` or ``library`` (cuDNN, or ATen on a CPU).

    Below compute capability 8.0 Triton emits no tensor-core instructions, and rows of channels that are no multiple of
    16 allow no wide loads: the library runs both. Elsewhere the table decides by channels. What the environment's
    AUTOPOSE_TAPS has ``forced`` overrules.
    """
    if forced:
        if forced not in ("triton", "library"):
            raise ValueError(f"AUTOPOSE_TAPS must be triton or library, got {forced!r}")
        return forced
    if cell.channels % 16 or (device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)):
        return "library"
    kind = "half" if dtype.itemsize == 2 else "float32"
    return tile_table()["taps"][kind][width(cell)]


def planes(cell: Cell, dtype: torch.dtype, device: torch.device, chosen: Switches) -> int:
    """Planes of raw outputs that an edge keeps: 3, one a convolution, or 2, without that of the 1x1.

    Triton can make that one anew wherever it is read, by a small product with x, which has to be read there anyhow; for
    this a program needs all channels, at most 64. The table decides by channels, and the environment overrules it.
    """
    if chosen.pointwise not in ("", "made", "stored"):
        raise ValueError(f"AUTOPOSE_POINTWISE must be made or stored, got {chosen.pointwise!r}")
    if convolutions(cell, dtype, device, chosen.taps) == "library" or Tiles.of(cell).blocks > 1:
        return NUM_CONVS
    return NUM_CONVS - ((chosen.pointwise or tile_table()["pointwise"][width(cell)]) == "made")


def width(cell: Cell) -> str:
    """The tile table's row for a cell: its channels, up to a power of two between 16 and 128."""
    return str(min(max(power_of_two(cell.channels), 16), 128))
