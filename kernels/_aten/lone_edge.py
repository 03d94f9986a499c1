"""A single mixed edge on a CPU: N images, C channels, H x W pixels.

What the cell's operator saves are passes that several edges of a source share; what it costs is a fixed time a call,
about a tenth of one edge. An edge by itself is therefore composed of library calls under autograd. It is faster than
the reference by the mixing weights, which are folded into the normalisations, forward and backward.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..dispatch import library_dtype
from ..topology import AVERAGE, IDENTITY, MAXIMUM, NUM_NORMED
from .norm import EdgeNorm
from .operations import Operand, node_sum
from .source import accumulator


def suits(inputs: Sequence[Tensor], num_nodes: int) -> bool:
    """Whether a cell is one edge on a CPU, of a dtype in which sums may be kept."""
    x = inputs[0]
    return len(inputs) == num_nodes == 1 and x.device.type == "cpu" and x.dtype == library_dtype(x.device, x.dtype)


def lone_edge(
    x: Tensor,
    convs: Sequence[Tensor],
    mix: Tensor,
    norm_weight: Tensor | None,
    norm_bias: Tensor | None,
    statistics: tuple[Tensor, Tensor] | None,
    eps: float,
    process_group,
    collect: bool,
) -> tuple[list[Tensor], Tensor | None, Tensor | None]:
    """([node], mean (1, 5, C), biased var (1, 5, C)); arguments as those of `mixed_edges` with E = 1.

    Without ``collect`` the batch's statistics are not returned.
    """
    channels, training = x.shape[1], statistics is None
    # Statistics are float32 beside half precision; tables may be of the half precision in whose place x is float32.
    dtype = accumulator(x)
    mix = mix.to(dtype)
    mean, var = (None, None) if training else (t[0].to(dtype) for t in statistics)
    weight, bias = (None if t is None else t[0].to(dtype) for t in (norm_weight, norm_bias))
    norm = EdgeNorm(channels, weight, bias, mean, var, mix[0, :NUM_NORMED], training, collect, eps, process_group)
    operand = Operand(x)
    outputs = [operand.convolve(weights[0]) for weights in convs] + [operand.pool(op) for op in (AVERAGE, MAXIMUM)]
    terms = [y for op, raw in enumerate(outputs) for y in norm(raw, [op])]
    node = node_sum([*terms, x * mix[0, IDENTITY].to(x.dtype)], x)
    if training and not collect:
        return [node], None, None
    if training:
        mean, var = (torch.stack(rows) for rows in zip(*norm.batch.values(), strict=True))
        count = x.numel() // channels * (1 if process_group is None else process_group.size())
        var = var * ((count - 1) / count)
    return [node], mean.unsqueeze(0), var.unsqueeze(0)
