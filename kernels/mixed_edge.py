"""Mixed edges of a whole cell: N images, C channels, H x W pixels, E edges, S inputs."""

from collections.abc import Sequence

import torch
from torch import Tensor

from . import reference
from .checks import check_convolutions, check_finite_weights, check_norm, check_states, check_table
from .dispatch import effective_dtype, library_dtype, resolve
from .topology import NUM_CONVS, NUM_NORMED, NUM_OPS, Topology


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
    implementation: str = "auto",
) -> list[Tensor]:
    """Every node of a cell of mixed edges: x_i = sum_j sum_k mix[e, k] * op_k(x_j) (Eqs. 2-4).

    Node i is fed by all inputs and all earlier nodes; edges are numbered node by node, inputs first. The operations,
    in order: ReLU - 1x1 convolution - BN, the same with 3x3 and 5x5, 3x3 average pooling (over the pixels inside) -
    BN, 3x3 maximum pooling - BN, identity. One input and one node is the single mixed edge.

    Args:
        inputs: S tensors (N, C, H, W), float; contiguous or channels_last (channels_last is the faster).
        num_nodes: nodes of the cell; E = num_nodes * S + num_nodes * (num_nodes - 1) / 2.
        conv1, conv3, conv5: (E, C, C, k, k), of the inputs' dtype (any float dtype under autocast).
        mix: (E, 6) mixing weights, of the inputs' dtype or float32 beside half precision.
        norm_weight, norm_bias: (E, 5, C) BN's affine parameters, or both None.
        running_mean, running_var: (E, 5, C), or both None. Training updates them in place (unbiased variance).
        training: normalise by the batch's statistics; False: by the running ones.
        momentum: of the running statistics.
        eps: added to the variance.
        process_group: statistics are taken over the batches of all its processes; None: over this one's.
        implementation: see `KernelChoice`.

    Returns:
        num_nodes tensors (N, C, H, W) in the memory format of the first input. Differentiable once, with respect to
        inputs, convolutions, mix and the affine parameters.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an empty batch, NaN in ``mix`` (on CUDA only in
            anomaly mode, since the host would wait for the device), an implementation that cannot run here.
        RuntimeError: in the backward pass with ``create_graph=True``, where a fused implementation runs.
    """
    options = dict(eps=eps, process_group=process_group, implementation=implementation)
    stats = dict(running_mean=running_mean, running_var=running_var, training=training, momentum=momentum)
    affine = dict(norm_weight=norm_weight, norm_bias=norm_bias)
    nodes = evaluate("mixed_edges", inputs, num_nodes, (conv1, conv3, conv5), mix, **affine, **stats, **options)
    return nodes if isinstance(nodes, list) else [node.permute(0, 3, 1, 2) for node in nodes[0].unbind(0)]


def evaluate(
    name: str, inputs: Sequence[Tensor], num_nodes: int, convs: Sequence[Tensor], mix: Tensor, *, norm_weight,
    norm_bias, running_mean, running_var, training: bool, momentum: float, eps: float, process_group,
    implementation: str,
) -> list[Tensor] | tuple[Tensor, Tensor]:  # fmt: skip
    """The nodes for the operator ``name``, as `mixed_edges` says.

    Where Triton runs they are stacked, (M, N, H, W, C), and with them come the counters of the cell's launches.
    """
    check_states(name, inputs)
    if num_nodes < 1:
        raise ValueError(f"{name} needs at least one node, got num_nodes={num_nodes}")
    edges, x = Topology(len(inputs), num_nodes).edges, inputs[0]
    check_convolutions(name, convs, (edges,) * NUM_CONVS, x)
    check_table(name, "mix", mix, (edges, NUM_OPS), x)
    norm = (norm_weight, norm_bias, running_mean, running_var)
    check_norm(name, (edges, NUM_NORMED, x.shape[1]), norm, training, process_group is not None, x)
    dtype = effective_dtype(x)
    chosen = resolve("mixed_edge", implementation, x.device, dtype).implementation
    check_finite_weights(name, "mix", mix)
    options = dict(eps=eps, process_group=process_group)
    if chosen == "reference":
        stats = dict(running_mean=running_mean, running_var=running_var, training=training, momentum=momentum)
        affine = dict(norm_weight=norm_weight, norm_bias=norm_bias)
        return reference.mixed_edges(inputs, num_nodes, *convs, mix, **affine, **stats, **options)
    if chosen == "triton":
        from ._triton.mixed_edge import stacked_nodes as fused
    else:
        from ._aten.mixed_edge import mixed_edges as fused
    inner = dtype
    if chosen != "triton":  # Triton's kernels cast while they pack the weights.
        inner = library_dtype(x.device, dtype)
        convs = [w.to(inner) for w in convs]
        options["collect"] = running_mean is not None
    inputs = [t.to(inner) for t in inputs]
    statistics = None if training else (running_mean, running_var)
    nodes, mean, var = fused(
        inputs, num_nodes, *convs, mix, norm_weight=norm_weight, norm_bias=norm_bias, statistics=statistics, **options
    )
    if training and running_mean is not None:
        update_running(running_mean, running_var, mean, var, momentum, x.numel() // x.shape[1], process_group)
    return nodes if inner == dtype else [node.to(dtype) for node in nodes]


def update_running(running_mean, running_var, mean, var, momentum: float, count: int, process_group) -> None:
    """Move the running statistics, in place, towards a batch's mean and biased variance over ``count`` values."""
    if process_group is not None:
        count *= process_group.size()
    with torch.no_grad():
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
