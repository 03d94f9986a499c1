"""Mixed edges of a cell from restructured ATen calls, registered whole: forward and backward are one operator each.

On a CPU a cell of a single edge has nothing to share between edges and is left to autograd (`lone_edge`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..dispatch import check_first_order, memory_format, register
from ..topology import NUM_NORMED, Topology
from .cell import backward, forward, source_kind
from .convolution import CHANNELS_LAST, empty_gradient
from .lone_edge import lone_edge, suits
from .source import accumulator
from .tables import Tables


def mixed_edges(
    inputs: Sequence[Tensor],
    num_nodes: int,
    conv1: Tensor,
    conv3: Tensor,
    conv5: Tensor,
    mix: Tensor,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    statistics: tuple[Tensor, Tensor] | None = None,
    eps: float = 1e-5,
    process_group=None,
    collect: bool = True,
) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
    """(nodes, mean (E, 5, C), biased var (E, 5, C)); ``statistics``, if given, are used instead of the batch's.

    Without ``collect`` the batch's may be None. Other arguments as the public function's.
    """
    if suits(inputs, num_nodes):
        convs, norm = (conv1, conv3, conv5), (norm_weight, norm_bias)
        with torch.autocast("cpu", enabled=False):
            return lone_edge(inputs[0], convs, mix, *norm, statistics, eps, process_group, collect)
    mean, var = (None, None) if statistics is None else statistics
    group = "" if process_group is None else process_group.group_name
    nodes = torch.ops.autopose.aten_mixed_cell(
        list(inputs), num_nodes, conv1, conv3, conv5, mix, norm_weight, norm_bias, mean, var, eps, group
    )
    return nodes[:num_nodes], nodes[num_nodes], nodes[num_nodes + 1]


def cell_forward(
    inputs: list[Tensor], num_nodes: int, conv1: Tensor, conv3: Tensor, conv5: Tensor, mix: Tensor,
    norm_weight: Tensor | None, norm_bias: Tensor | None, mean: Tensor | None, var: Tensor | None,
    eps: float, group: str,
) -> list[Tensor]:  # fmt: skip
    """Nodes, mean, var and what the backward pass needs, `Source.NUM_SAVED` tensors a source."""
    like, cell = inputs[0], Topology(len(inputs), num_nodes)
    tables = Tables(cell, accumulator(like), mix, norm_weight, norm_bias, mean, var, eps, group)
    with torch.autocast(like.device.type, enabled=False):
        nodes, mean, var, sources = forward(inputs, cell, [conv1, conv3, conv5], tables)
    nodes = [node.contiguous(memory_format=memory_format(like)) for node in nodes]
    return [*nodes, tables.unsort(mean), tables.unsort(var), *(t for source in sources for t in source.tensors())]


def _fake_forward(inputs, num_nodes, conv1, conv3, conv5, mix, norm_weight, norm_bias, mean, var, eps, group):
    like = inputs[0]
    n, c, h, w = like.shape
    cell, p = Topology(len(inputs), num_nodes), n * h * w
    tables = [like.new_empty(mix.shape[0], NUM_NORMED, c, dtype=accumulator(like)) for _ in range(2)]
    nodes = [torch.empty_like(like, memory_format=memory_format(like)) for _ in range(num_nodes)]
    saved = []
    for edges in cell.by_source():
        saved += [like.new_empty(p, len(edges) * c) for _ in range(3)] + [like.new_empty(p, 3 * c)]
        saved.append(torch.empty_like(like, dtype=torch.int64, memory_format=CHANNELS_LAST))
    return [*nodes, *tables, *saved]


def cell_backward(
    grads: list[Tensor | None], states: list[Tensor], convs: list[Tensor], mix: Tensor,
    norm_weight: Tensor | None, norm_bias: Tensor | None, mean: Tensor, var: Tensor, saved: list[Tensor],
    eps: float, group: str, training: bool, need_inputs: list[bool], need_convs: list[bool],
) -> list[Tensor]:  # fmt: skip
    """Gradients of the inputs and convolutions that need one, of mix and of the affine parameters (if any)."""
    like, cell = states[0], Topology(len(states) - len(grads) + 1, len(grads))
    running = (None, None) if training else (mean, var)
    tables = Tables(cell, accumulator(like), mix, norm_weight, norm_bias, running[0], running[1], eps, group)
    kind = source_kind(like)
    parts = [saved[at : at + kind.NUM_SAVED] for at in range(0, len(saved), kind.NUM_SAVED)]
    sources = [kind.of(state, part) for state, part in zip(states, parts, strict=True)]
    with torch.autocast(like.device.type, enabled=False):
        statistics = tables.sort_statistics(mean, var)
        found = backward(grads, sources, cell, convs, tables, statistics, (need_inputs, need_convs))
    results = [g for g in (*found.inputs, *found.convs) if g is not None] + [found.mix.to(mix.dtype)]
    if norm_weight is not None:
        results += [found.weight.to(norm_weight.dtype), found.bias.to(norm_bias.dtype)]
    return results


def _fake_backward(
    grads, states, convs, mix, norm_weight, norm_bias, mean, var, saved, eps, group, training, need_inputs, need_convs
):
    wanted = [s for s, need in zip(states, need_inputs, strict=False) if need]
    results = [torch.empty_like(s, memory_format=CHANNELS_LAST) for s in wanted]
    results += [empty_gradient(w) for w, need in zip(convs, need_convs, strict=True) if need]
    tables = [mix] if norm_weight is None else [mix, norm_weight, norm_bias]
    return results + [torch.empty_like(t) for t in tables]


def _setup_context(ctx, inputs, output) -> None:
    states, num_nodes, conv1, conv3, conv5, mix, norm_weight, norm_bias, mean, _, eps, group = inputs
    ctx.shape = (len(states), num_nodes, norm_weight is not None)
    ctx.options = (eps, group, mean is None)
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(*output[num_nodes:])
    norm = () if norm_weight is None else (norm_weight, norm_bias)
    ctx.save_for_backward(*states, *output[: num_nodes - 1], conv1, conv3, conv5, mix, *norm, *output[num_nodes:])


def _backward_through(ctx, grads):
    check_first_order("mixed_edge")
    num_inputs, num_nodes, affine = ctx.shape
    saved, sources = list(ctx.saved_tensors), Topology(num_inputs, num_nodes).sources
    states, saved = saved[:sources], saved[sources:]
    convs, mix, saved = saved[:3], saved[3], saved[4:]
    norm, saved = (saved[:2], saved[2:]) if affine else ([None, None], saved)
    mean, var, *saved = saved
    needs = ctx.needs_input_grad
    need_inputs, need_convs = _flags(needs[0], num_inputs), list(needs[2:5])
    found = iter(torch.ops.autopose.aten_mixed_cell_backward(
        list(grads[:num_nodes]), states, convs, mix, *norm, mean, var, saved, *ctx.options, need_inputs, need_convs
    ))  # fmt: skip
    inputs = [next(found) if need else None for need in need_inputs]
    weights = [next(found) if need else None for need in need_convs]
    return inputs, None, *weights, next(found), *(next(found, None) for _ in range(2)), None, None, None, None


def _flags(needed, count: int) -> list[bool]:
    return list(needed) if isinstance(needed, list | tuple) else [bool(needed)] * count


_TABLES = "Tensor mix, Tensor? norm_weight, Tensor? norm_bias"
register(
    "aten_mixed_cell",
    f"(Tensor[] inputs, int num_nodes, Tensor conv1, Tensor conv3, Tensor conv5, {_TABLES}, Tensor? mean, Tensor? var, "
    "float eps, str group) -> Tensor[]",
    cell_forward,
    _fake_forward,
    _backward_through,
    _setup_context,
)
register(
    "aten_mixed_cell_backward",
    f"(Tensor?[] grads, Tensor[] states, Tensor[] convs, {_TABLES}, Tensor mean, Tensor var, Tensor[] saved, "
    "float eps, str group, bool training, bool[] need_inputs, bool[] need_convs) -> Tensor[]",
    cell_backward,
    _fake_backward,
)
