"""The compression of a cell's nodes in plain PyTorch: M tensors (N, C, H, W) to one (§3.1.2)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .mixed_edge import batch_norm


def compress(
    nodes: Sequence[Tensor],
    weight: Tensor,
    *,
    norm_weight: Tensor | None = None,
    norm_bias: Tensor | None = None,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    process_group=None,
) -> Tensor:
    """BN(conv1x1(ReLU(concatenation))); ``weight`` (C, M * C, 1, 1), the other tensors (C,)."""
    z = F.conv2d(torch.relu(torch.cat(list(nodes), 1)), weight)
    norm = (norm_weight, norm_bias, running_mean, running_var)
    return batch_norm(z, (), norm, training, momentum, eps, process_group)
