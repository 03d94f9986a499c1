"""A whole cell of mixed edges, its nodes compressed to one tensor: N images, C channels, H x W pixels, M nodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import reference
from .checks import check_like, check_norm, check_states
from .mixed_edge import evaluate, update_running


@dataclass(frozen=True)
class Compression:
    """What brings M nodes to one tensor: ReLU, 1x1 convolution and batch normalisation (§3.1.2).

    Args:
        weight: (C, M * C, 1, 1), of the inputs' dtype (any float dtype under autocast).
        norm_weight, norm_bias: (C,), or both None.
        running_mean, running_var: (C,), or both None. Training updates them in place (unbiased variance).
    """

    weight: Tensor
    norm_weight: Tensor | None = None
    norm_bias: Tensor | None = None
    running_mean: Tensor | None = None
    running_var: Tensor | None = None


def mixed_cell(
    inputs: Sequence[Tensor],
    num_nodes: int,
    conv1: Tensor,
    conv3: Tensor,
    conv5: Tensor,
    mix: Tensor,
    compression: Compression,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    process_group=None,
    implementation: str = "auto",
) -> Tensor:
    """The nodes of `mixed_edges`, compressed: BN(conv1x1(ReLU(x_1, ..., x_M))), (N, C, H, W).

    All arguments but ``compression`` are those of `mixed_edges`, and both normalisations obey the options. Where
    Triton runs, the nodes are neither concatenated nor copied; elsewhere they are compressed as the reference does.

    Raises:
        ValueError: as `mixed_edges`, and a compression whose tensors do not fit.
        RuntimeError: as `mixed_edges`.
    """
    name = "mixed_cell"
    own = (compression.norm_weight, compression.norm_bias, compression.running_mean, compression.running_var)
    check_states(name, inputs)
    x, wanted = inputs[0], (inputs[0].shape[1], num_nodes * inputs[0].shape[1], 1, 1)
    if tuple(compression.weight.shape) != wanted:
        got = tuple(compression.weight.shape)
        raise ValueError(f"{name} needs a compression of weight (C, nodes * C, 1, 1) = {wanted}, got {got}")
    autocast = torch.is_autocast_enabled(x.device.type)
    check_like(name, "the compression's weight", compression.weight, x, dtype=not autocast)
    check_norm(f"{name}'s compression", wanted[:1], own, training, process_group is not None, x)
    options = dict(training=training, momentum=momentum, eps=eps, process_group=process_group)
    norm = dict(norm_weight=norm_weight, norm_bias=norm_bias, running_mean=running_mean, running_var=running_var)
    nodes = evaluate(
        name, inputs, num_nodes, (conv1, conv3, conv5), mix, implementation=implementation, **norm, **options
    )
    if isinstance(nodes, list):
        tables = dict(zip(norm, own, strict=True))
        return reference.compress(nodes, compression.weight, **tables, **options)
    from ._triton.compress import compress as fused

    stacked, counters = nodes
    out, mean, var = fused(
        stacked, compression.weight, norm_weight=own[0], norm_bias=own[1], statistics=None if training else own[2:],
        eps=eps, process_group=process_group, counters=counters,
    )  # fmt: skip
    if training and own[2] is not None:
        update_running(*own[2:], mean, var, momentum, out.numel() // out.shape[1], process_group)
    return out
