"""The compression of a cell's nodes, registered as two operators: autopose::compress and its backward.

M nodes stacked in NHWC, N images, H x W pixels, C channels. float32, bfloat16 and float16 storage, float32
accumulation. Sums run in a fixed order: the same bits every time.
"""

import torch
from torch import Tensor

from ...dispatch import check_first_order, eager, register
from ..launch import Cell, contiguous
from ..processes import named_group
from . import plan


def compress(
    nodes: Tensor,
    weight: Tensor,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    statistics: tuple[Tensor, Tensor] | None = None,
    eps: float = 1e-5,
    process_group=None,
    counters: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """ReLU, 1x1 convolution and batch normalisation of nodes (M, N, H, W, C) that a Triton cell has made.

    ``weight`` (C, M * C, 1, 1); ``statistics``: None for the batch's, or a fixed mean and variance (C,); ``counters``:
    those of the cell, 0 before and after every launch. Returns the output (N, C, H, W) in channels_last, mean and
    biased variance (C,) float32, which carry no gradient.
    """
    if counters is None:
        counters = nodes.new_zeros(Cell(1, *nodes.shape).counters, dtype=torch.int32)
    fixed = (None, None) if statistics is None else statistics
    group = "" if process_group is None else process_group.group_name
    out, _, mean, var = _call(nodes, weight, norm_weight, norm_bias, *fixed, counters, float(eps), group)
    return out.permute(0, 3, 1, 2), mean, var


def _forward(nodes, weight, norm_weight, norm_bias, fixed_mean, fixed_var, counters, eps, group):
    nodes, weight, *tables = contiguous(nodes, weight, norm_weight, norm_bias, fixed_mean, fixed_var)
    return plan.forward(nodes, weight, tuple(tables[:2]), tuple(tables[2:]), counters, eps, named_group(group))


def _backward(grad, nodes, z, weight, norm_weight, norm_bias, mean, var, counters, fixed, eps, group, wanted):
    grad, nodes, z, weight, *affine = contiguous(grad, nodes, z, weight, norm_weight, norm_bias)
    dnodes, dweight, *daffine = plan.backward(
        grad, nodes, z, weight, tuple(affine), mean, var, counters, fixed, eps, named_group(group), wanted
    )
    if norm_weight is None:
        daffine = [mean.new_empty(0), mean.new_empty(0)]
    return dnodes, weight.new_empty(0) if dweight is None else dweight, *daffine


def _fake_forward(nodes, weight, norm_weight, norm_bias, fixed_mean, fixed_var, counters, eps, group):
    mean = nodes.new_empty(nodes.shape[-1], dtype=torch.float32)
    return nodes.new_empty(nodes.shape[1:]), nodes.new_empty(nodes.shape[1:]), mean, torch.empty_like(mean)


def _fake_backward(grad, nodes, z, weight, norm_weight, norm_bias, mean, var, counters, fixed, eps, group, wanted):
    shape = (0,) if norm_weight is None else mean.shape
    dweight = weight.new_empty(weight.shape if wanted else (0,))
    return nodes.new_empty(nodes.shape), dweight, mean.new_empty(shape), mean.new_empty(shape)


def _save(ctx, inputs, output):
    nodes, weight, norm_weight, norm_bias, fixed_mean, _, counters, ctx.eps, ctx.group = inputs
    ctx.fixed = fixed_mean is not None
    _, z, mean, var = output
    ctx.mark_non_differentiable(z, mean, var)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(nodes, weight, norm_weight, norm_bias, z, mean, var, counters)


def _differentiate(ctx, grad, *_):
    check_first_order("mixed_edge")
    nodes, weight, norm_weight, norm_bias, z, mean, var, counters = ctx.saved_tensors
    if grad is None:
        return (None,) * 9
    needs = ctx.needs_input_grad
    found = torch.ops.autopose.compress_backward(
        grad, nodes, z, weight, norm_weight, norm_bias, mean, var, counters, ctx.fixed, ctx.eps, ctx.group, needs[1]
    )
    tables = zip(found[2:], (norm_weight, norm_bias), strict=True)
    found = [*found[:2], *(d if t is None else d.to(t.dtype) for d, t in tables)]
    return *(d if need else None for d, need in zip(found, needs[:4], strict=True)), *(None,) * 5


register(
    "compress",
    "(Tensor nodes, Tensor weight, Tensor? norm_weight, Tensor? norm_bias, Tensor? fixed_mean, Tensor? fixed_var, "
    "Tensor counters, float eps, str group) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _fake_forward,
    _differentiate,
    _save,
)
register(
    "compress_backward",
    "(Tensor grad, Tensor nodes, Tensor z, Tensor weight, Tensor? norm_weight, Tensor? norm_bias, Tensor mean, "
    "Tensor var, Tensor counters, bool fixed, float eps, str group, bool wanted) -> (Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
)
_call = eager("compress", _save, _differentiate)
