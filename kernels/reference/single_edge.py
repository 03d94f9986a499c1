"""One operation an edge in plain PyTorch: the derived network and the one-op Gumbel-Softmax."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ..topology import AVERAGE, IDENTITY, MAXIMUM, NUM_CONVS, Topology
from .mixed_edge import batch_norm


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
) -> list[Tensor]:
    """Every node of a cell, x_i = sum_j mix[e] * op_e(x_j) (Eqs. 2-3); arguments as the public function's."""
    norm = (norm_weight, norm_bias, running_mean, running_var)
    convs = [iter(()) if w is None else iter(w.unbind(0)) for w in (conv1, conv3, conv5)]
    states, cell = list(inputs), Topology(len(inputs), num_nodes)
    for node in range(num_nodes):
        total = None
        for edge, source in cell.into(node):
            x, op = states[source], ops[edge]
            if op < NUM_CONVS:
                y = F.conv2d(F.relu(x), next(convs[op]), padding=op)
            elif op == AVERAGE:
                y = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            elif op == MAXIMUM:
                y = F.max_pool2d(x, 3, 1, 1)
            else:
                y = x
            if op != IDENTITY:
                y = batch_norm(y, (edge,), norm, training, momentum, eps, process_group)
            if mix is not None:
                y = y * mix[edge]
            total = y if total is None else total + y
        states.append(total)
    return states[len(inputs) :]
