"""The convolutions of a cell's mixed edges, merged by source: by the library (cuDNN) or by Triton."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .launch import Cell, Tiles
from .mixed_edge_mix import collect_kernel

KERNELS = (1, 3, 5)


def prepare(cell: Cell, x: Tensor, conv: tuple[Tensor, Tensor, Tensor], wanted=(False, False, False)):
    """The object that runs a cell's convolutions on states like ``x``; ``wanted``: which weights' gradients are."""
    return LibraryConvolutions(cell, x, conv, wanted)


class LibraryConvolutions:
    """Merged library convolutions: per source and kernel size one convolution with slots * C output channels."""

    def __init__(self, cell: Cell, x: Tensor, conv: tuple[Tensor, Tensor, Tensor], wanted: tuple[bool, bool, bool]):
        self.cell, self.wanted = cell, wanted
        self.conv = [w.to(x.dtype) for w in conv]
        self.gradients = [torch.empty_like(w) if want else None for w, want in zip(conv, wanted, strict=True)]

    def _merged(self, source: int) -> list[Tensor]:
        """Weights (slots * C, C, k, k) of a source's edges, channels_last."""
        edges = self.cell.edges_of(source)
        merged = [torch.cat([w[e] for e in edges]) for w in self.conv]
        return [w.contiguous(memory_format=torch.channels_last) for w in merged]

    def forward(self, source: int, x: Tensor, y: Tensor) -> tuple[Tensor, int, int]:
        """Fill the planes ``y`` of a source's edges; partial moments (T, 2, slots * 3 * C), T and pixels a part."""
        cell, slots = self.cell, self.cell.slots(source)
        active = F.relu(x.permute(0, 3, 1, 2))
        outs = [F.conv2d(active, w, padding=w.shape[-1] // 2) for w in self._merged(source)]
        outs = [o.contiguous(memory_format=torch.channels_last) for o in outs]
        tiles = Tiles.of(cell, -(-1024 // slots))
        stats = x.new_empty(tiles.parts, 2, slots * 3 * cell.channels, dtype=torch.float32)
        collect_kernel[tiles.parts, slots, tiles.blocks](
            *outs, y, stats, cell.pixels, cell.channels, cell.sources, source, slots, tiles.repeat,
            BP=tiles.rows, BC=tiles.lanes,
        )  # fmt: skip
        return stats, tiles.parts, tiles.rows * tiles.repeat

    def allocate(self, source: int, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Room for the raw outputs' gradients, (3, P, slots * C), and its strides by edge, kernel size and pixel."""
        wide = self.cell.slots(source) * self.cell.channels
        dy = x.new_empty(3, *x.shape[:3], wide)
        return dy, (self.cell.channels, self.cell.pixels * wide, wide)

    def backward(self, source: int, x: Tensor, dy: Tensor) -> list[Tensor]:
        """The convolutions' input gradients (N, H, W, C), before ReLU's mask; keeps the weights' gradients."""
        active, through = F.relu(x.permute(0, 3, 1, 2)), []
        for k, weight in enumerate(self._merged(source)):
            dx, dweight, _ = torch.ops.aten.convolution_backward(
                dy[k].permute(0, 3, 1, 2), active, weight, None, [1, 1], [k, k], [1, 1], False, [0, 0], 1,
                [True, self.wanted[k], False],
            )  # fmt: skip
            through.append(dx.permute(0, 2, 3, 1).contiguous())
            if self.wanted[k]:
                for edge, part in zip(self.cell.edges_of(source), dweight.chunk(self.cell.slots(source)), strict=True):
                    self.gradients[k][edge].copy_(part)
        return through

    def weight_gradients(self) -> list[Tensor | None]:
        return self.gradients
