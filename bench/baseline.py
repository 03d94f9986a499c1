"""The strong baseline that fused kernels are compared with: the exact rewrite of a cell in plain PyTorch.

One convolution a kernel size for all edges that leave a source, one ReLU and one pair of normalised pools a source,
mixing weights folded into the normalisations, sums in the dtype of the states. Nothing in it hides from a compiler: on
a GPU `cells` gives Inductor every cell by itself (cuDNN's convolutions, what stands between them fused), which a CUDA
graph of the whole step then takes; on a CPU it runs as it is written. N images, C channels, H x W pixels, E edges.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from autopose.kernels import reference
from autopose.kernels.topology import AVERAGE, IDENTITY, MAXIMUM, NUM_CONVS, NUM_NORMED, Topology


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
    """Every node of a cell; arguments as `kernels.mixed_edges`.

    Raises:
        ValueError: anything but the statistics of this process's batch, which are all that a search's step uses.
    """
    if not training or running_mean is not None or process_group is not None:
        raise ValueError("the baseline normalises by the batch's statistics alone: no running ones, no process group")
    cell, states = Topology(len(inputs), num_nodes), list(inputs)
    scale = mix[:, :NUM_NORMED, None]  # (E, 5, 1), of the five normalised operations; (E, 5, C) with the affine ones
    shift = None if norm_bias is None else (scale * norm_bias).unbind(0)
    scale = (scale.expand(-1, -1, conv1.shape[1]) if norm_weight is None else scale * norm_weight).unbind(0)
    skip, convs = mix[:, IDENTITY].unbind(0), [w.unbind(0) for w in (conv1, conv3, conv5)]
    sums: list[Tensor | None] = [None] * num_nodes
    for source in range(cell.sources):
        if source >= cell.inputs:
            states.append(sums[source - cell.inputs])
        edges = cell.out_of(source)
        parts = _outputs(states[source], edges, convs, scale, skip, shift, eps)
        for node, part in enumerate(parts, cell.first_node(source)):
            sums[node] = part if sums[node] is None else sums[node] + part
    return sums


def _outputs(x: Tensor, edges: list[int], convs, scale, skip, shift, eps: float) -> list[Tensor]:
    """What a source adds to the node of each of its edges, (N, C, H, W) each."""
    count, active, channels = len(edges), F.relu(x), x.shape[1]
    normed = [
        F.batch_norm(y, None, None, training=True, eps=eps)
        for y in (F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), F.max_pool2d(x, 3, 1, 1))
    ]
    columns = []
    for op in range(NUM_CONVS):
        weight = torch.cat([convs[op][edge] for edge in edges])
        y = F.conv2d(active, weight, padding=weight.shape[-1] // 2)
        factor = torch.cat([scale[edge][op] for edge in edges])
        offset = None if shift is None else torch.cat([shift[edge][op] for edge in edges])
        columns.append(F.batch_norm(y, None, None, factor, offset, training=True, eps=eps).split(channels, 1))
    found = []
    for slot in range(count):
        edge = edges[slot]
        total = columns[0][slot] + columns[1][slot] + columns[2][slot]
        for op, y in zip((AVERAGE, MAXIMUM), normed, strict=True):
            total = total + y * scale[edge][op].to(y.dtype).view(-1, 1, 1)
            if shift is not None:
                total = total + shift[edge][op].to(y.dtype).view(-1, 1, 1)
        found.append(total + x * skip[edge].to(x.dtype))
    return found


@cache
def _compiled() -> Callable:
    return torch.compile(mixed_edges, fullgraph=True, dynamic=False)


@contextmanager
def cells(compiled: bool) -> Iterator[None]:
    """Where ``kernels`` asks for the reference of mixed edges it gets the baseline, ``compiled`` a cell at a time."""
    with mock.patch.object(reference, "mixed_edges", _compiled() if compiled else mixed_edges):
        yield
