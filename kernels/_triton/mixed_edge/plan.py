"""Forward and backward pass of a cell of mixed edges: the order of the Triton launches.

States are NHWC, stacked: inputs (S, N, H, W, C) and nodes (M, N, H, W, C); planes y (E, K, P, C) hold the raw outputs
of every edge's convolutions (P = N * H * W; K is 3, or 2 where the 1x1's is made anew: `launch.planes`). The
convolutions of one source for all its edges run merged.

What a cell launches is worked out once for its sizes, and kept: `_forward_plan`, `_backward_plan`.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from ...topology import NUM_NORMED, NUM_OPS, NUM_POOLS
from ..launch import (
    PARTS,
    REGISTERS,
    Cell,
    Launch,
    Switches,
    Tiles,
    check_size,
    convolutions,
    group_counters,
    kinds,
    on_device,
    planes,
    power_of_two,
    span,
    switches,
)
from ..processes import statistics_over, sums_over
from .backward import coefficients_kernel, reduce_kernel, spread_kernel
from .forward import mix_kernel, normalise_kernel, pool_stats_kernel
from .gather import gather_kernel
from .pack import prepare_kernel
from .products import STORED, LibraryConvolutions, Normalises, TritonConvolutions


def forward(
    inputs: Tensor, conv: tuple[Tensor, Tensor, Tensor], mix: Tensor, affine: tuple[Tensor | None, Tensor | None],
    fixed: tuple[Tensor | None, Tensor | None], num_nodes: int, eps: float, process_group,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Nodes (M, N, H, W, C), planes y (E, K, P, C), and mean and biased variance (E, 5, C) of what is normalised.

    Then the packed weights (E, 35, C, C) for the backward pass, empty where the library convolves, and the counters
    (`Cell.counters`), which are 0 after every launch.
    """
    plan = _forward_plan(
        inputs.shape, num_nodes, inputs.device, kinds(inputs, *conv, mix, *affine, *fixed), affine[0] is not None,
        fixed[0] is not None, eps, switches(),
    )  # fmt: skip
    cell = plan.cell
    nodes = inputs.new_empty(num_nodes, *inputs.shape[1:])
    y = inputs.new_empty(cell.edges, plan.convs.planes, cell.pixels, cell.channels)
    mean = inputs.new_empty(cell.edges, NUM_NORMED, cell.channels, dtype=torch.float32)
    var, coef = torch.empty_like(mean), inputs.new_empty(cell.edges, NUM_NORMED, 2, cell.channels, dtype=torch.float32)
    with on_device(inputs):
        prepares = plan.groups[0].prepares
        counters = (inputs.new_empty if prepares else inputs.new_zeros)(cell.counters, dtype=torch.int32)
        weights = plan.convs.room(inputs) if prepares else plan.convs.weights(conv, inputs)
        packed = weights if plan.convs.packs else None
        for group in plan.groups:
            active = None
            if group.node is not None:
                active = torch.empty_like(nodes[:1]) if plan.convs.packs else None
                plan.nodes[group.node](inputs, nodes, y, coef, mix, packed, active)
            x = _states(inputs, nodes, group.sources)
            out = (mean, var, coef)
            group.run(x, active, conv, weights, y, (mix, *affine), fixed, out, counters, process_group)
        plan.nodes[-1](inputs, nodes, y, coef, mix, packed, None)
    return nodes, y, mean, var, inputs.new_empty(0) if packed is None else packed, counters


def backward(
    grad: Tensor, inputs: Tensor, nodes: Tensor, y: Tensor, packed: Tensor, conv: tuple[Tensor, Tensor, Tensor],
    mix: Tensor, affine: tuple[Tensor | None, Tensor | None], mean: Tensor, var: Tensor, counters: Tensor, fixed: bool,
    eps: float, process_group, wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, list[Tensor | None], Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of inputs, convolutions (None unless ``wanted``), mix (E, 6) and the affine tables (E, 5, C).

    ``grad`` (M, N, H, W, C) is contiguous and is not written to; groups of sources are walked from the last node back.
    nodes, y, ``packed``, mean, var and ``counters`` are those of `forward`.
    """
    plan = _backward_plan(
        inputs.shape, grad.shape[0], inputs.device,
        kinds(inputs, grad, nodes, y, packed, *conv, mix, *affine, mean, var),
        affine[0] is not None, fixed, eps, switches(), wanted,
    )  # fmt: skip
    cell = plan.cell
    dinputs = torch.empty_like(inputs)
    # Of every node that is a source: what it received from outside, and from later nodes.
    total = grad.new_empty(cell.nodes - 1, *grad.shape[1:])
    dconv = [torch.empty_like(w) if want else None for w, want in zip(conv, wanted, strict=True)]
    dmix = mean.new_empty(cell.edges, NUM_OPS)
    daffine = (torch.empty_like(mean), torch.empty_like(mean)) if affine[0] is not None else (mean, mean)
    with on_device(inputs):
        weights = packed if plan.convs.packs and len(packed) else plan.convs.weights(conv, inputs)
        of_weights = plan.convs.gradient_room(dconv, inputs)
        for group in plan.groups:
            x, dx = (_states(*pair, group.sources) for pair in ((inputs, nodes), (dinputs, total)))
            g, base = (grad, total), _states(inputs, grad, group.sources)
            out = (dmix, *daffine)
            coef = group.coefficients(x, y, g, (mix, *affine), (mean, var), weights, out, counters, process_group)
            group.differentiate(x, y, g, coef, mix, weights, base, dx, of_weights, counters)
    return dinputs, dconv, dmix, *daffine


def kept(cell: Cell, dtype: torch.dtype, device: torch.device) -> tuple[int, bool]:
    """K, and whether Triton's products run, for which `forward` packs the weights."""
    chosen = switches()
    return planes(cell, dtype, device, chosen), convolutions(cell, dtype, device, chosen.taps) == "triton"


def _states(inputs: Tensor, nodes: Tensor, group: range) -> Tensor:
    """The states of a group's sources, (group, N, H, W, C)."""
    stacked, first = (inputs, group[0]) if group[0] < len(inputs) else (nodes, group[0] - len(inputs))
    return stacked[first : first + len(group)]


@lru_cache(maxsize=1024)
def _forward_plan(shape, num_nodes, device, tensors, affine: bool, fixed: bool, eps: float, chosen: Switches):
    """The plan of a forward pass; the arguments are all that its launches depend on."""
    convs = _convolutions(Cell(shape[0], num_nodes, *shape[1:]), tensors[0][0], device, chosen)
    return ForwardPlan(convs, affine, fixed, eps)


@lru_cache(maxsize=1024)
def _backward_plan(shape, num_nodes, device, tensors, affine: bool, fixed: bool, eps: float, chosen: Switches, wanted):
    """The plan of a backward pass; the arguments are all that its launches depend on."""
    convs = _convolutions(Cell(shape[0], num_nodes, *shape[1:]), tensors[0][0], device, chosen, wanted)
    return BackwardPlan(convs, affine, fixed, eps)


def node_launch(cell: Cell, node: int, active: bool = False, pointwise: dict = STORED) -> Launch:
    """Writes node ``node`` of nodes (M, N, H, W, C): Eq. 3 with BN and mixing weights folded into coefficients.

    Tensors: inputs (S, N, H, W, C), nodes, y (E, K, P, C), coefficients (E, 5, 2, C) float32, mix (E, 6), packed
    weights where K is 2, and the node's ReLU (1, N, H, W, C) where ``active``, else None.
    """
    tiles = Tiles.of(cell)
    return Launch(
        mix_kernel, (tiles.parts, tiles.blocks), node, cell.inputs, cell.pixels, cell.height, cell.width,
        cell.channels, ACTIVE=active, BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even, **pointwise,
    )  # fmt: skip


def _convolutions(cell: Cell, dtype, device, chosen: Switches, wanted=(False, False, False)):
    check_size(cell)
    if convolutions(cell, dtype, device, chosen.taps) == "library":
        return LibraryConvolutions(cell, dtype, wanted)
    return TritonConvolutions(cell, dtype, wanted, planes(cell, dtype, device, chosen))


def _lanes(cell: Cell) -> int:
    """Channels of a program of the kernels that combine parts."""
    return min(max(power_of_two(cell.channels), 16), 64)


class ForwardPlan:
    """All launches of a cell's forward pass: ``groups`` of sources in order, and its ``nodes``."""

    def __init__(self, convs: TritonConvolutions | LibraryConvolutions, affine: bool, fixed: bool, eps: float):
        self.cell, self.convs, last = convs.cell, convs, convs.cell.nodes - 1
        self.nodes = [node_launch(convs.cell, n, convs.packs and n < last, convs.pointwise) for n in range(last + 1)]
        self.groups = [ForwardGroup(self, sources, affine, fixed, eps) for sources in self.cell.groups(convs.grouped)]


class ForwardGroup:
    """The launches of a group of sources; ``node`` is the one that must be written before, or None.

    ``prepares``: it packs the weights of the whole cell.
    """

    def __init__(self, plan: ForwardPlan, sources: range, affine: bool, fixed: bool, eps: float):
        cell, count = plan.cell, len(sources)
        self.node = None if sources[0] < cell.inputs else sources[0] - cell.inputs
        self.cell, self.sources = cell, sources
        tiles = Tiles.of(cell, -(-PARTS // count))
        pools = (tiles.parts, tiles.rows * tiles.repeat)
        self._moments = (count, tiles.parts, 2, NUM_POOLS, cell.channels)
        # A node's pools are taken beside the product; those of the inputs before it, with their ReLU.
        normalises = Normalises(affine, eps, *(pools if self.node is None else (0, 0)))
        self.convs = plan.convs.group(sources, None if fixed else normalises)
        plane = (cell.pixels, cell.height, cell.width, cell.channels)
        tile = dict(BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even)
        self.prepares = plan.convs.packs and not fixed and sources[0] == 0
        if self.prepares:
            programs = tiles.parts * tiles.blocks * count + math.prod(plan.convs.pack_grid)
            self._prepare = Launch(
                prepare_kernel, (programs,), *plane, tiles.repeat, tiles.parts, count, cell.edges, cell.counters,
                **tile, **plan.convs.pack_tile,
            )  # fmt: skip
        self._pools = Launch(pool_stats_kernel, (tiles.parts, tiles.blocks, count), *plane, tiles.repeat, **tile)
        lanes, slots = _lanes(cell), cell.slots(sources[0])
        self.packs = plan.convs.packs
        conv_parts, conv_rows = (0, 0) if self.packs else (self.convs.parts, self.convs.rows)
        self._normalise, self._normalise_as_given = (
            Launch(
                normalise_kernel, (slots * count, NUM_NORMED, -(-cell.channels // lanes)), cell.pixels, cell.channels,
                cell.inputs, sources[0], slots, conv_parts, pools[0], conv_rows, pools[1], eps,
                FIXED=given, AFFINE=affine, BT=8192 // lanes, BC=lanes, num_warps=16,
            )
            for given in (False, True)
        )  # fmt: skip
        self._fixed = fixed

    def run(self, x, active, conv, weights, y, tables, fixed, out, counters, process_group) -> None:
        """Fill the planes ``y`` of the group's edges and their rows of ``out`` = (mean, var, coefficients).

        x (group, N, H, W, C), ``active`` its ReLU or None where nobody has it yet; ``conv`` the weights as they are,
        which a group that ``prepares`` brings to ``weights``; ``tables`` = (mix, weight, bias); statistics are
        ``fixed`` or those of the batches of all processes.
        """
        if self._fixed:
            self.convs.forward(x.relu() if active is None else active, weights, y)
            self._normalise_as_given(None, None, *fixed, *tables, *out)
            return
        pools = None
        if active is None:
            pools, active = x.new_empty(self._moments, dtype=torch.float32), torch.empty_like(x)
            if self.prepares:
                self._prepare(x, active, pools, *conv, weights, counters)
            else:
                self._pools(x, active, pools)
        own = out if process_group is None else tuple(torch.empty_like(table) for table in out)
        moments = self.convs.forward(active, weights, y, x, pools, tables, own, counters)
        if not self.packs:
            self._normalise(moments, pools, None, None, *tables, *own)
        if process_group is not None:
            edges = [edge for source in self.sources for edge in self.cell.out_of(source)]
            every = statistics_over(process_group, own[0], own[1], edges, self.cell.pixels)
            self._normalise_as_given(None, None, *every, *tables, *out)


class BackwardPlan:
    """All launches of a cell's backward pass: ``groups`` of sources from the last back."""

    def __init__(self, convs: TritonConvolutions | LibraryConvolutions, affine: bool, fixed: bool, eps: float):
        self.cell, self.convs = convs.cell, convs
        groups = reversed(convs.cell.groups(convs.grouped))
        self.groups = [BackwardGroup(self, sources, affine, fixed, eps) for sources in groups]


class BackwardGroup:
    """The launches of a group of sources."""

    def __init__(self, plan: BackwardPlan, sources: range, affine: bool, fixed: bool, eps: float):
        cell, count, slots = plan.cell, len(sources), plan.cell.slots(sources[0])
        self.cell, self.sources, self.convs, self.fixed = cell, sources, plan.convs.group(sources), fixed
        self.packs = plan.convs.packs
        self.needs_active = plan.convs.needs_active
        plane = (cell.pixels, cell.height, cell.width, cell.channels)
        tiles = Tiles.of(cell, -(-PARTS // count))
        self._parts = tiles.parts
        self._sums = (count, tiles.parts + group_counters(tiles.parts), slots, NUM_NORMED + 2, cell.channels)
        rows = 8 * power_of_two(slots)
        # Of itself the compiler takes more from 64 channels on, and needs none of them. On narrower states, and below
        # sm_80, it would spill.
        registers = dict(maxnreg=REGISTERS[3]) if plan.convs.packs and tiles.lanes == 64 else {}
        table = dict(AFFINE=affine, ROWS=rows, LANES=min(_lanes(cell), max(1024 // rows, 16)))
        self._reduce = Launch(
            reduce_kernel, (tiles.parts, count, tiles.blocks), *plane, cell.inputs, sources[0], slots, tiles.repeat,
            eps, FIXED=fixed, SPAN=span(tiles.parts), **table, BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
            **plan.convs.pointwise, **registers,
        )  # fmt: skip
        self._table = (count, slots, NUM_NORMED, 3, cell.channels)
        self._coefficients_of_all = Launch(
            coefficients_kernel, (count,), cell.pixels, cell.channels, cell.inputs, sources[0], slots, eps, **table
        )
        tiles = Tiles.of(cell)
        grid, tile = (tiles.parts, tiles.blocks, count), dict(BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even)
        self._spread = Launch(
            spread_kernel, grid, *plane, cell.inputs, sources[0], slots, *self.convs.gradient_strides,
            FIXED=fixed, ACTIVE=self.needs_active, **tile, **plan.convs.pointwise,
        )  # fmt: skip
        self._gather = Launch(gather_kernel, grid, *plane, ADD=sources[0] >= cell.inputs, **tile)

    def coefficients(self, x, y, grad, tables, statistics, weights, out, counters, process_group) -> Tensor:
        """A, B, D (group, slots, 5, 3, C) of the group's edges; writes their rows of ``out`` = (dmix, dweight, dbias).

        x (group, N, H, W, C), ``grad`` = what all nodes received from outside, and in all (see `node_gradient`),
        ``tables`` = (mix, weight, bias), ``statistics`` = (mean, var), ``weights`` packed.
        """
        sums, coef = statistics[0].new_empty(self._sums), statistics[0].new_empty(self._table)
        packed = weights if self.packs else None
        self._reduce(x, y, *grad, *statistics, packed, *tables, sums, coef, *out, counters)
        if process_group is not None and not self.fixed:
            total, coef = sums_over(process_group, sums[:, : self._parts], self.cell.pixels), torch.empty_like(coef)
            self._coefficients_of_all(total, *statistics, *tables, coef, *(torch.empty_like(t) for t in out))
        return coef

    def differentiate(self, x, y, grad, coef, mix, weights, base, dx, of_weights, counters) -> None:
        """Gradients of the group's convolutions and of its sources (``dx``; of nodes, with ``base``).

        x, base, dx (group, N, H, W, C), x, y and ``grad`` as in `coefficients`, ``coef`` from it, ``weights`` packed;
        ``of_weights`` is the convolutions' `gradient_room`.
        """
        dy = x.new_empty(self.convs.gradient_shape)
        davg, dmax, dskip = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
        place = torch.empty_like(x, dtype=torch.uint8)
        active = torch.empty_like(x) if self.needs_active else None
        packed = weights if self.packs else None
        self._spread(x, y, *grad, coef, mix, packed, dy, davg, dmax, dskip, place, active)
        others = (davg, dmax, dskip, place, base)
        through = self.convs.backward(active, weights, dy, of_weights, others, dx, counters)
        if not self.convs.gathers:
            self._gather(*through, *others, dx)
