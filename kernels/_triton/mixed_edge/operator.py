"""Mixed edges of a cell on Triton, registered as two operators: autopose::mixed_cell and its backward.

States travel stacked in NHWC: S inputs, M nodes, N images, H x W pixels, C channels, E edges. Pooling, statistics,
normalisation, mixing and all reductions are Triton kernels; who runs the convolutions `launch.convolutions` says.
float32, bfloat16 and float16 storage, float32 accumulation. Sums run in a fixed order: the same bits every time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...dispatch import check_first_order, eager, register
from ...topology import NUM_NORMED, NUM_TAPS
from ..launch import Cell, contiguous
from ..processes import named_group
from . import plan


def mixed_edges(
    inputs: Sequence[Tensor], num_nodes: int, *tensors: Tensor, **options
) -> tuple[list[Tensor], Tensor, Tensor]:
    """`stacked_nodes`, the nodes one by one: num_nodes tensors (N, C, H, W) in channels_last."""
    nodes, mean, var = stacked_nodes(inputs, num_nodes, *tensors, **options)
    return [node.permute(0, 3, 1, 2) for node in nodes[0].unbind(0)], mean, var


def stacked_nodes(
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
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Nodes of a cell and the statistics they were normalised by; arguments are those of the public function, checked.

    ``statistics``: None for the batch's, or a fixed mean and variance (E, 5, C). Returns nodes (M, N, H, W, C) and the
    counters that whoever compresses them may use (`launch.Cell.counters`), mean and biased variance (E, 5, C) float32,
    which carry no gradient.
    Raises ValueError for a cell too large for the kernels' 32-bit offsets (`launch.check_size`).
    """
    planes = [x.permute(0, 2, 3, 1) for x in inputs]
    stacked = torch.stack(planes) if len(planes) > 1 else planes[0].contiguous().unsqueeze(0)
    fixed = (None, None) if statistics is None else statistics
    group = "" if process_group is None else process_group.group_name
    affine = (norm_weight, norm_bias)
    tensors = (stacked, conv1, conv3, conv5, mix, *affine, *fixed)
    nodes, _, mean, var, _, counters = _call(*tensors, num_nodes, float(eps), group)
    return (nodes, counters), mean, var


def _forward(inputs, conv1, conv3, conv5, mix, weight, bias, fixed_mean, fixed_var, num_nodes, eps, group):
    tables = contiguous(mix, weight, bias, fixed_mean, fixed_var)
    mix, affine, fixed = tables[0], tables[1:3], tables[3:]
    conv = contiguous(conv1, conv3, conv5)
    return plan.forward(inputs.contiguous(), conv, mix, affine, fixed, num_nodes, eps, named_group(group))


def _backward(
    grad, inputs, nodes, y, packed, conv1, conv3, conv5, mix, weight, bias, mean, var, counters, fixed, eps, group,
    want1, want3, want5,
):  # fmt: skip
    mix, *affine = contiguous(mix, weight, bias)
    dinputs, dconv, dmix, dweight, dbias = plan.backward(
        grad.contiguous(), inputs.contiguous(), nodes, y, packed, contiguous(conv1, conv3, conv5), mix, affine, mean,
        var, counters, fixed, eps, named_group(group), (want1, want3, want5),
    )  # fmt: skip
    dconv = [w.new_empty(0) if d is None else d for w, d in zip((conv1, conv3, conv5), dconv, strict=True)]
    if weight is None:
        dweight, dbias = mean.new_empty(0), mean.new_empty(0)
    return dinputs, *dconv, dmix, dweight, dbias


def _fake_forward(inputs, conv1, conv3, conv5, mix, weight, bias, fixed_mean, fixed_var, num_nodes, eps, group):
    sources, *shape = inputs.shape
    edges, pixels = mix.shape[0], shape[0] * shape[1] * shape[2]
    mean = inputs.new_empty(edges, NUM_NORMED, shape[3], dtype=torch.float32)
    cell = Cell(sources, num_nodes, *shape[:3], int(shape[3]))
    planes, packs = plan.kept(cell, inputs.dtype, inputs.device)
    y = inputs.new_empty(edges, planes, pixels, shape[3])
    packed = (edges, NUM_TAPS, shape[3], shape[3]) if packs else (0,)
    counters = inputs.new_empty(cell.counters, dtype=torch.int32)
    return inputs.new_empty(num_nodes, *shape), y, mean, torch.empty_like(mean), inputs.new_empty(packed), counters


def _fake_backward(
    grad, inputs, nodes, y, packed, conv1, conv3, conv5, mix, weight, bias, mean, var, counters, fixed, eps, group,
    want1, want3, want5,
):  # fmt: skip
    wanted = zip((conv1, conv3, conv5), (want1, want3, want5), strict=True)
    dconv = [w.new_empty(w.shape) if want else w.new_empty(0) for w, want in wanted]
    shape = (0,) if weight is None else mean.shape
    return (
        inputs.new_empty(inputs.shape),
        *dconv,
        mean.new_empty(mix.shape),
        mean.new_empty(shape),
        mean.new_empty(shape),
    )


def _save(ctx, inputs, output):
    tensors, (ctx.num_nodes, ctx.eps, ctx.group) = inputs[:9], inputs[9:]
    ctx.fixed = tensors[7] is not None
    nodes, y, mean, var, packed, counters = output
    ctx.mark_non_differentiable(y, mean, var, packed, counters)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors[:7], nodes, y, mean, var, packed, counters)


def _differentiate(ctx, grad, *_):
    check_first_order("mixed_edge")
    inputs, conv1, conv3, conv5, mix, weight, bias, nodes, y, mean, var, packed, counters = ctx.saved_tensors
    if grad is None:
        return (None,) * 12
    needs = ctx.needs_input_grad
    found = torch.ops.autopose.mixed_cell_backward(
        grad, inputs, nodes, y, packed, conv1, conv3, conv5, mix, weight, bias, mean, var, counters, ctx.fixed,
        ctx.eps, ctx.group, *needs[1:4],
    )  # fmt: skip
    tables = (mix, weight, bias)
    found = [*found[:4], *(d if t is None else d.to(t.dtype) for d, t in zip(found[4:], tables, strict=True))]
    return *(d if need else None for d, need in zip(found, needs[:7], strict=True)), *(None,) * 5


_TABLES = "Tensor conv1, Tensor conv3, Tensor conv5, Tensor mix, Tensor? norm_weight, Tensor? norm_bias"
register(
    "mixed_cell",
    f"(Tensor inputs, {_TABLES}, Tensor? fixed_mean, Tensor? fixed_var, int num_nodes, float eps, str group) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake_forward,
    _differentiate,
    _save,
)
register(
    "mixed_cell_backward",
    f"(Tensor grad, Tensor inputs, Tensor nodes, Tensor y, Tensor packed, {_TABLES}, Tensor mean, Tensor var, "
    "Tensor counters, bool fixed, float eps, str group, bool want1, bool want3, bool want5) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
)
_call = eager("mixed_cell", _save, _differentiate)
