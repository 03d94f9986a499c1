"""Forward and backward pass of a cell of mixed edges: the order of the Triton launches.

States are NHWC, stacked: inputs (S, N, H, W, C) and nodes (M, N, H, W, C); planes y (E, 3, P, C) hold the raw outputs
of every edge's three convolutions (P = N * H * W). The convolutions of one source for all its edges run merged.
"""

import torch
import torch.distributed as dist
from torch import Tensor

from . import mixed_edge_convs as convs
from .launch import Cell, Tiles, on_device, power_of_two
from .mixed_edge_mix import mix_kernel, normalise_kernel, pool_stats_kernel
from .mixed_edge_reduce import coefficients_kernel, gather_kernel, reduce_kernel, spread_kernel


def forward(
    inputs: Tensor, conv: tuple[Tensor, Tensor, Tensor], mix: Tensor, affine: tuple[Tensor | None, Tensor | None],
    fixed: tuple[Tensor | None, Tensor | None], num_nodes: int, eps: float, process_group,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Nodes (M, N, H, W, C), planes y (E, 3, P, C), and mean and biased variance (E, 5, C) of what is normalised."""
    cell = Cell(inputs.shape[0], num_nodes, *inputs.shape[1:])
    nodes = inputs.new_empty(num_nodes, *inputs.shape[1:])
    y = inputs.new_empty(cell.edges, 3, cell.pixels, cell.channels)
    mean = inputs.new_empty(cell.edges, 5, cell.channels, dtype=torch.float32)
    var, coef = torch.empty_like(mean), inputs.new_empty(cell.edges, 5, 2, cell.channels, dtype=torch.float32)
    out = (mean, var, coef)
    with on_device(inputs):
        taps = convs.prepare(cell, inputs, conv)
        for group in cell.groups(taps.grouped):
            if group[0] >= cell.sources:
                mix_node(cell, group[0] - cell.sources, inputs, nodes, y, coef, mix)
            stats = _statistics(cell, group, _states(inputs, nodes, group), taps, y, fixed[0] is None)
            _normalise(cell, group, stats, mix, affine, fixed, out, eps, process_group)
        mix_node(cell, num_nodes - 1, inputs, nodes, y, coef, mix)
    return nodes, y, mean, var


def backward(
    grad: Tensor, inputs: Tensor, nodes: Tensor, y: Tensor, conv: tuple[Tensor, Tensor, Tensor], mix: Tensor,
    affine: tuple[Tensor | None, Tensor | None], mean: Tensor, var: Tensor, fixed: bool, eps: float, process_group,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, list[Tensor | None], Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of inputs, convolutions (None unless ``wanted``), mix (E, 6) and the affine tables (E, 5, C).

    ``grad`` (M, N, H, W, C) is contiguous and is not written to; groups of sources are walked from the last node back.
    """
    cell = Cell(inputs.shape[0], grad.shape[0], *inputs.shape[1:])
    if cell.nodes > 1:
        grad = grad.clone()
    dinputs = torch.empty_like(inputs)
    dmix = mean.new_empty(cell.edges, 6)
    daffine = (torch.empty_like(mean), torch.empty_like(mean)) if affine[0] is not None else (mean, mean)
    with on_device(inputs):
        taps = convs.prepare(cell, inputs, conv, wanted)
        for group in reversed(cell.groups(taps.grouped)):
            x = _states(inputs, nodes, group)
            coef = _coefficients(
                cell, group, x, y, grad, mix, affine, (mean, var), fixed, eps, process_group, (dmix, *daffine)
            )
            _differentiate(cell, group, x, y, grad, coef, mix, taps, _states(dinputs, grad, group), fixed)
        dconv = taps.weight_gradients()
    return dinputs, dconv, dmix, *daffine


def _states(inputs: Tensor, nodes: Tensor, group: range) -> Tensor:
    """The states of a group's sources, (group, N, H, W, C)."""
    stacked, first = (inputs, group[0]) if group[0] < len(inputs) else (nodes, group[0] - len(inputs))
    return stacked[first : first + len(group)]


def mix_node(cell: Cell, node: int, inputs: Tensor, nodes: Tensor, y: Tensor, coef: Tensor, mix: Tensor) -> None:
    """Write node ``node`` of ``nodes`` (M, N, H, W, C): Eq. 3 with BN and mixing weights folded into ``coef``.

    Other shapes: inputs (S, N, H, W, C), y (E, 3, P, C), coef (E, 5, 2, C) float32, mix (E, 6).
    """
    tiles = Tiles.of(cell)
    mix_kernel[tiles.parts, tiles.blocks](
        inputs, nodes, y, coef, mix, node, cell.sources, cell.pixels, cell.height, cell.width, cell.channels,
        BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
    )  # fmt: skip


def _statistics(cell: Cell, group: range, x: Tensor, taps, y: Tensor, batch: bool):
    """Run a group's convolutions into ``y``; partial moments of them and of both pools (parts, pixels a part)."""
    if not batch:
        stats = taps.forward(group, x.relu(), y)
        return stats, (stats[0], 1, 1)
    tiles, active = Tiles.of(cell, -(-1024 // len(group))), torch.empty_like(x)
    pool_stats = x.new_empty(len(group), tiles.parts, 2, 2, cell.channels, dtype=torch.float32)
    pool_stats_kernel[tiles.parts, tiles.blocks, len(group)](
        x, active, pool_stats, cell.pixels, cell.height, cell.width, cell.channels, tiles.repeat,
        BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
    )  # fmt: skip
    return taps.forward(group, active, y), (pool_stats, tiles.parts, tiles.rows * tiles.repeat)


def _normalise(cell: Cell, group: range, stats, mix, affine, fixed, out, eps: float, process_group) -> None:
    """Fill the rows of a group's edges in ``out`` = (mean, var, coef), over the processes of ``process_group``."""
    (conv_stats, conv_parts, conv_rows), (pool_stats, pool_parts, pool_rows) = stats
    lanes, slots = min(max(power_of_two(cell.channels), 16), 64), cell.slots(group[0])

    def launch(given, results):
        normalise_kernel[slots * len(group), 5, -(-cell.channels // lanes)](
            conv_stats, pool_stats, *given, mix, *affine, *results, cell.pixels, cell.channels, cell.sources, group[0],
            slots, conv_parts, pool_parts, conv_rows, pool_rows, eps,
            FIXED=given[0] is not None, AFFINE=affine[0] is not None, BT=8192 // lanes, BC=lanes, num_warps=16,
        )  # fmt: skip

    if process_group is None or fixed[0] is not None:
        launch(fixed, out)
        return
    local = (torch.empty_like(out[0]), torch.empty_like(out[0]), torch.empty_like(out[2]))
    launch(fixed, local)
    edges = [edge for source in group for edge in cell.edges_of(source)]
    launch(_synchronise(local[0], local[1], edges, cell.pixels, process_group), out)


def _synchronise(mean: Tensor, var: Tensor, edges: list[int], pixels: int, process_group) -> tuple[Tensor, Tensor]:
    """Mean and variance over all processes (Chan et al.) of the rows ``edges``; the other rows are arbitrary."""
    rows = torch.stack([table[edge] for table in (mean, var) for edge in edges])
    mine = torch.cat([rows.flatten(), rows.new_full((1,), pixels)]).double()
    every = mine.new_empty(dist.get_world_size(process_group) * mine.numel())
    dist.all_gather_into_tensor(every, mine, group=process_group)
    every = every.view(-1, mine.numel())
    count = every[:, -1].view(-1, 1, 1, 1)
    means, variances = every[:, :-1].view(-1, 2, len(edges), rows[0].numel()).split(1, 1)
    share = count / count.sum()
    total = (means * share).sum(0)
    spread = ((variances + (means - total).square()) * share).sum(0)
    found = torch.empty_like(mean), torch.empty_like(var)
    for table, values in zip(found, (total[0], spread[0]), strict=True):
        for edge, value in zip(edges, values, strict=True):
            table[edge].copy_(value.view_as(table[edge]))
    return found


def _coefficients(
    cell: Cell, group: range, x, y, grad, mix, affine, statistics, fixed: bool, eps, process_group, out
) -> Tensor:
    """A, B, D (group, slots, 5, 3, C) of a group's edges; writes their rows of ``out`` = (dmix, dweight, dbias)."""
    slots, (mean, var) = cell.slots(group[0]), statistics
    edges = slots * len(group)
    tiles = Tiles.of(cell, -(-1024 // edges))
    sums = mean.new_empty(len(group), tiles.parts, slots, 7, cell.channels)
    reduce_kernel[tiles.parts, edges, tiles.blocks](
        x, y, grad, mean, sums, cell.pixels, cell.height, cell.width, cell.channels, cell.sources, group[0], slots,
        tiles.repeat, BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
    )  # fmt: skip
    coef = mean.new_empty(len(group), slots, 5, 3, cell.channels)
    lanes = min(max(power_of_two(cell.channels), 16), 64)

    def launch(parts, results):
        coefficients_kernel[edges, 6](
            parts, mean, var, mix, *affine, coef, *results, cell.pixels, cell.channels, cell.sources, group[0], slots,
            parts.shape[1], eps, FIXED=fixed, AFFINE=affine[0] is not None, BT=2048 // lanes, BC=lanes,
        )  # fmt: skip

    if process_group is not None and not fixed:
        launch(_reduced_over(process_group, sums, cell.pixels), [torch.empty_like(t) for t in out])
        kept, coef = coef, torch.empty_like(coef)
        launch(sums, out)
        return kept
    launch(sums, out)
    return coef


def _reduced_over(process_group, sums: Tensor, pixels: int) -> Tensor:
    """The sums of all processes, scaled so that division by this process's pixels gives the mean over all."""
    total = sums.double().sum(1).flatten()
    total = torch.cat([total, total.new_full((1,), pixels)])
    dist.all_reduce(total, group=process_group)
    return (total[:-1] * (pixels / total[-1:])).float().view(len(sums), 1, *sums.shape[2:])


def _differentiate(cell: Cell, group: range, x, y, grad, coef, mix, taps, dx, fixed: bool) -> None:
    """Gradients of a group's convolutions (kept in ``taps``) and of its sources (``dx``; nodes' are added to it)."""
    tiles, slots = Tiles.of(cell), cell.slots(group[0])
    grid = (tiles.parts, tiles.blocks, len(group))
    dy, strides = taps.allocate(group, x)
    davg, dmax, dskip = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)
    place = torch.empty_like(x, dtype=torch.uint8)
    active = torch.empty_like(x) if taps.needs_active else None
    sizes = (cell.pixels, cell.height, cell.width, cell.channels)
    spread_kernel[grid](
        x, y, grad, coef, mix, dy, davg, dmax, dskip, place, active, *sizes, cell.sources, group[0], slots,
        *strides, FIXED=fixed, ACTIVE=taps.needs_active, BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
    )  # fmt: skip
    through = taps.backward(group, active, dy)
    gather_kernel[grid](
        x, through[0], through[-1], through[len(through) // 2], davg, dmax, dskip, place, dx, dx, *sizes,
        CONVS=len(through), ADD=group[0] >= cell.sources, BP=tiles.rows, BC=tiles.lanes, EVEN=tiles.even,
    )  # fmt: skip
