"""The compression of a cell's nodes: its launches, worked out once for their sizes and kept.

Nodes are stacked (M, N, H, W, C), as `..mixed_edge.plan.forward` writes them; the product z and the output are
(N, H, W, C). Sizes that 32-bit offsets reach are those of the cell that made the nodes: it has refused all others.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ...dispatch import interpreting
from ..launch import (
    PARTS,
    PROGRAMS,
    Cell,
    Launch,
    Switches,
    Tiles,
    convolutions,
    group_counters,
    kinds,
    on_device,
    power_of_two,
    span,
    switches,
)
from ..processes import statistics_over, sums_over
from .kernels import (
    compress_apply_kernel,
    compress_gradient_kernel,
    compress_product_kernel,
    compress_reduce_kernel,
    compress_sum_kernel,
)

Affine = tuple[Tensor | None, Tensor | None]


def forward(
    nodes: Tensor, weight: Tensor, affine: Affine, fixed: Affine, counters: Tensor, eps: float, process_group
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output and product z (N, H, W, C), mean and biased variance (C,) of z.

    ``affine``: batch normalisation's weight and bias (C,), or None twice; ``fixed``: statistics, or None twice;
    ``counters``: the cell's, 0 before and after (`launch.Cell.counters`).
    """
    tensors = kinds(nodes, weight, *affine, *fixed)
    plan = _forward_plan(
        nodes.shape, nodes.device, tensors, affine[0] is not None, fixed[0] is not None, eps, switches()
    )
    return plan.run(nodes, weight, affine, fixed, counters, process_group)


def backward(
    grad: Tensor, nodes: Tensor, z: Tensor, weight: Tensor, affine: Affine, mean: Tensor, var: Tensor,
    counters: Tensor, fixed: bool, eps: float, process_group, wanted: bool,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:  # fmt: skip
    """Gradients of the nodes (M, N, H, W, C), of the weight (None unless ``wanted``) and of the affine parameters."""
    tensors = kinds(grad, nodes, z, weight, *affine, mean, var)
    plan = _backward_plan(nodes.shape, nodes.device, tensors, affine[0] is not None, fixed, eps, wanted, switches())
    return plan.run(grad, nodes, z, weight, affine, mean, var, counters, process_group)


@lru_cache(maxsize=1024)
def _forward_plan(shape, device, tensors, affine: bool, fixed: bool, eps: float, chosen: Switches):
    """The plan of a forward pass; the arguments are all that its launches depend on."""
    cell = Cell(1, shape[0], *shape[1:])
    return ForwardPlan(cell, ProductTiles.of(cell, tensors[0][0], device, chosen.taps).product, affine, fixed, eps)


@lru_cache(maxsize=1024)
def _backward_plan(shape, device, tensors, affine: bool, fixed: bool, eps: float, wanted: bool, chosen: Switches):
    """The plan of a backward pass; the arguments are all that its launches depend on."""
    cell = Cell(1, shape[0], *shape[1:])
    tiles = ProductTiles.of(cell, tensors[0][0], device, chosen.taps)
    return BackwardPlan(cell, tiles.gradient, affine, fixed, eps, wanted)


@dataclass(frozen=True)
class ProductTiles:
    """Tiles and options of both products; with tensor cores, or small enough to be multiplied without any."""

    product: dict
    gradient: dict

    @classmethod
    def of(cls, cell: Cell, dtype: torch.dtype, device: torch.device, taps: str) -> "ProductTiles":
        wide = dtype.itemsize == 2 and convolutions(cell, dtype, device, taps) == "triton"
        precision = "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
        options = dict(UPCAST=dtype.itemsize == 2 and (interpreting() or not wide), PRECISION=precision)
        lanes, outs = _lanes(cell, 64 if wide else 32), _lanes(cell, 128 if wide else 32)
        ins = lanes if wide or outs >= cell.channels else 16
        rows = (128 if lanes < 64 else 64) if wide else 1024 // lanes
        blocks, out_blocks = -(-cell.channels // lanes), -(-cell.channels // outs)
        launch = dict(num_warps=8 if outs > 64 else 4, num_stages=2)
        return cls(
            dict(BM=rows, NC=lanes, KB=blocks, num_warps=4, num_stages=3, **options),
            dict(BM=64 if wide else 32, NI=ins, NO=outs, OB=out_blocks, **launch, **options),
        )


def _lanes(cell: Cell, most: int) -> int:
    return min(max(power_of_two(cell.channels), 16), most)


class ForwardPlan:
    """Product, its statistics, and the output."""

    def __init__(self, cell: Cell, product: dict, affine: bool, fixed: bool, eps: float):
        self.pixels, self.fixed = cell.pixels, fixed
        parts = -(-cell.pixels // product["BM"])
        self._moments = (parts + group_counters(parts), 2, cell.channels)
        self._product = Launch(
            compress_product_kernel, (parts, product["KB"]), cell.pixels, cell.channels, cell.nodes,
            SPAN=0 if fixed else span(parts), **product,
        )  # fmt: skip
        tiles = Tiles.of(cell)
        self._apply = Launch(
            compress_apply_kernel, (tiles.parts, tiles.blocks), cell.pixels, cell.channels, eps,
            AFFINE=affine, BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
        )  # fmt: skip

    def run(self, nodes: Tensor, weight: Tensor, affine: Affine, fixed: Affine, counters: Tensor, process_group):
        """Arguments and results of `forward`."""
        z, out = (nodes.new_empty(nodes.shape[1:]) for _ in range(2))
        moments = nodes.new_empty(self._moments, dtype=torch.float32)
        if self.fixed:
            mean, var = (table.to(torch.float32, copy=True) for table in fixed)
        else:
            mean, var = (nodes.new_empty(nodes.shape[-1], dtype=torch.float32) for _ in range(2))
        with on_device(nodes):
            self._product(nodes, weight, z, moments, mean, var, counters)
            if process_group is not None and not self.fixed:
                mean, var = (t[0] for t in statistics_over(process_group, mean[None], var[None], [0], self.pixels))
            self._apply(z, mean, var, *affine, out)
        return out, z, mean, var


class BackwardPlan:
    """Sums and coefficients, the gradients of nodes and weight, and the sum of the weight's parts."""

    def __init__(self, cell: Cell, gradient: dict, affine: bool, fixed: bool, eps: float, wanted: bool):
        self.pixels, self.fixed, self.wanted = cell.pixels, fixed, wanted
        plane, self.eps = (cell.pixels, cell.channels), eps
        tiles = Tiles.of(cell, PARTS)
        self._parts = tiles.parts
        self._sums = (1, tiles.parts + group_counters(tiles.parts), 2, cell.channels)
        self._reduce = Launch(
            compress_reduce_kernel, (tiles.parts, tiles.blocks), *plane, tiles.repeat, eps, FIXED=fixed, AFFINE=affine,
            SPAN=span(tiles.parts), BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
        )  # fmt: skip
        blocks, all_tiles = cell.nodes * -(-cell.channels // gradient["NI"]), -(-cell.pixels // gradient["BM"])
        programs = max(1, PROGRAMS // (blocks * gradient["OB"]))
        steps = -(-all_tiles // min(programs, all_tiles))
        splits = -(-all_tiles // steps)
        self._gradient = Launch(
            compress_gradient_kernel, (blocks, splits, gradient["OB"]), *plane, cell.nodes, steps, splits,
            WEIGHT=wanted, FIXED=fixed, **gradient,
        )  # fmt: skip
        size = cell.nodes * cell.channels**2
        self._partial = (splits, size)
        self._sum = Launch(compress_sum_kernel, (-(-size // 128),), size, splits, BS=16, BC=128)

    def run(self, grad, nodes, z, weight, affine: Affine, mean, var, counters, process_group):
        """Arguments and results of `backward`."""
        sums, coef = mean.new_empty(self._sums), mean.new_empty(3, len(mean))
        daffine = (torch.empty_like(mean), torch.empty_like(mean)) if affine[0] is not None else (mean, mean)
        dnodes, dweight = torch.empty_like(nodes), torch.empty_like(weight) if self.wanted else None
        partial = mean.new_empty(self._partial) if self.wanted else None
        with on_device(nodes):
            self._reduce(z, grad, mean, var, affine[0], sums, coef, *daffine, counters)
            if process_group is not None and not self.fixed:
                total = sums_over(process_group, sums[:, : self._parts], self.pixels)[0, 0]
                coef = coefficients(total, mean, var, affine[0], self.eps, self.pixels)
            self._gradient(nodes, z, grad, coef, weight, dnodes, partial)
            if self.wanted:
                self._sum(partial, dweight)
        return dnodes, dweight, *daffine


def coefficients(sums: Tensor, mean: Tensor, var: Tensor, weight, eps: float, pixels: int) -> Tensor:
    """A, B and D (3, C) as `kernels.coefficients` has them, for ``sums`` (2, C) over all processes."""
    rstd = (var + eps).rsqrt()
    first = rstd if weight is None else rstd * weight.float()
    second = -first * rstd.square() * sums[1] / pixels
    return torch.stack([first, second, -first * sums[0] / pixels - second * mean])
