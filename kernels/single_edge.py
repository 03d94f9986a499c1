"""One operation an edge of a whole cell: N images, C channels, H x W pixels, E edges, S inputs."""

from collections.abc import Sequence

from torch import Tensor

from . import reference
from .checks import check_convolutions, check_finite_weights, check_norm, check_states, check_table
from .dispatch import effective_dtype, resolve
from .topology import IDENTITY, NUM_CONVS, NUM_OPS, Topology


def single_edges(
    inputs: Sequence[Tensor],
    num_nodes: int,
    ops: Sequence[int],
    conv1: Tensor | None,
    conv3: Tensor | None,
    conv5: Tensor | None,
    mix: Tensor | None = None,
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
    """Every node of a cell whose edges hold one operation each: x_i = sum_j mix[e] * op_e(x_j) (Eqs. 2-3).

    The derived network's and the one-op Gumbel-Softmax's path. Edges and operations are numbered as in `mixed_edges`;
    the fused implementation runs the operations of one kind of one source as one.

    Args:
        inputs: S tensors (N, C, H, W), float; contiguous or channels_last (channels_last is the faster).
        num_nodes: nodes of the cell.
        ops: E operation numbers, 0-5.
        conv1, conv3, conv5: (edges with that operation, C, C, k, k) in edge order; None if there are none.
        mix: (E,) weights of the edges, or None for ones.
        norm_weight, norm_bias: (E, C) BN's affine parameters, or both None; rows of identity edges are not used.
        running_mean, running_var: (E, C), or both None. Training updates the used rows in place.
        training, momentum, eps, process_group, implementation: as in `mixed_edges`.

    Returns:
        num_nodes tensors (N, C, H, W) in the memory format of the first input.

    Raises:
        ValueError: as `mixed_edges`, and for a wrong number of operations or an unknown one.
    """
    name, ops = "single_edges", tuple(ops)
    check_states(name, inputs)
    if num_nodes < 1:
        raise ValueError(f"{name} needs at least one node, got num_nodes={num_nodes}")
    edges, x = Topology(len(inputs), num_nodes).edges, inputs[0]
    if len(ops) != edges:
        raise ValueError(f"{name} needs one operation for each of {edges} edges, got {len(ops)}")
    if not all(0 <= op < NUM_OPS for op in ops):
        raise ValueError(f"{name} needs operations 0-{NUM_OPS - 1}, got {ops}")
    check_convolutions(name, (conv1, conv3, conv5), [ops.count(op) for op in range(NUM_CONVS)], x)
    check_table(name, "mix", mix, (edges,), x)
    norm = (norm_weight, norm_bias, running_mean, running_var)
    if any(op != IDENTITY for op in ops):
        check_norm(name, (edges, x.shape[1]), norm, training, process_group is not None, x)
    chosen = resolve("single_edge", implementation, x.device, effective_dtype(x)).implementation
    if mix is not None:
        check_finite_weights(name, "mix", mix)
    if chosen == "reference":
        run = reference.single_edges
    else:
        from ._aten.single_edge import single_edges as run
    return run(
        inputs, num_nodes, ops, conv1, conv3, conv5, mix,
        norm_weight=norm_weight, norm_bias=norm_bias, running_mean=running_mean, running_var=running_var,
        training=training, momentum=momentum, eps=eps, process_group=process_group,
    )  # fmt: skip
