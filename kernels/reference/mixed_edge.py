"""Mixed edges of a cell in plain PyTorch: N images, C channels, H x W pixels, E edges, S inputs.

Every edge evaluates its six operations by themselves, as Eq. 4 of the paper is written.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..topology import IDENTITY, Topology


def batch_norm(x: Tensor, row: tuple, norm, training: bool, momentum: float, eps: float, process_group=None) -> Tensor:
    """Batch normalisation of x (N, C, H, W) with row ``row`` of the stacked affine and running tensors (or None)."""
    weight, bias, mean, var = (None if t is None else t[row] for t in norm)
    if training and process_group is not None:
        return synchronised_batch_norm(x, weight, bias, mean, var, momentum, eps, process_group)
    return F.batch_norm(x, mean, var, weight, bias, training, momentum, eps)


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
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    process_group=None,
) -> list[Tensor]:
    """Every node of a cell, x_i = sum_j sum_k mix[e, k] * op_k(x_j) (Eqs. 2-4); arguments as the public function's."""
    norm = (norm_weight, norm_bias, running_mean, running_var)
    # Rows by unbind: the backward pass of conv1[edge] would fill a tensor of all edges with zeros, for every edge.
    conv1, conv3, conv5, mix = (t.unbind(0) for t in (conv1, conv3, conv5, mix))
    states, cell = list(inputs), Topology(len(inputs), num_nodes)
    for node in range(num_nodes):
        total = None
        for edge, source in cell.into(node):
            x, weights = states[source], mix[edge].unbind(0)
            active = F.relu(x)
            raw = (
                F.conv2d(active, conv1[edge]),
                F.conv2d(active, conv3[edge], padding=1),
                F.conv2d(active, conv5[edge], padding=2),
                F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
                F.max_pool2d(x, 3, 1, 1),
            )
            for op, y in enumerate(raw):
                y = batch_norm(y, (edge, op), norm, training, momentum, eps, process_group) * weights[op]
                total = y if total is None else total + y
            total = total + x * weights[IDENTITY]
        states.append(total)
    return states[len(inputs) :]


def synchronised_batch_norm(x, weight, bias, running_mean, running_var, momentum, eps, process_group) -> Tensor:
    """Batch normalisation of x (N, C, H, W) by the statistics of all processes' batches, in at least float32."""
    wide = x.float() if x.element_size() == 2 else x
    count = torch.full_like(wide[0, :, 0, 0], x.numel() // x.shape[1])
    count, total = _Summed.apply(torch.stack([count, wide.sum((0, 2, 3))]), process_group).unbind(0)
    shape, mean = (1, -1, 1, 1), total / count
    centred = wide - mean.view(shape)
    var = _Summed.apply(centred.square().sum((0, 2, 3)), process_group) / count
    if running_mean is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    y = centred * torch.rsqrt(var + eps).view(shape)
    if weight is not None:
        y = y * weight.view(shape)
    if bias is not None:
        y = y + bias.view(shape)
    return y.to(x.dtype)


class _Summed(torch.autograd.Function):
    """A tensor's sum over the processes of a group; its gradient is the sum of theirs.

    Not PyTorch's own: that one's default argument keeps the process group alive, whose threads then meet the end of
    the interpreter, and abort.
    """

    @staticmethod
    def forward(ctx, x: Tensor, group) -> Tensor:
        """The sum."""
        ctx.group = group
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx, grad: Tensor):
        """Sum the gradients."""
        return _Summed.apply(grad, ctx.group), None
