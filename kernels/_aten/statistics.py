"""Batch statistics of several matrices at once, over one process or a group of them."""

import torch
import torch.distributed as dist
from torch import Tensor

from .convolution import image


def batch_statistics(matrices: list[Tensor], like: Tensor, group: str) -> tuple[Tensor, Tensor]:
    """Means and biased variances of the columns of matrices (P, any), end to end; ``group`` names a process group."""
    found = [_moments(matrix, like) for matrix in matrices]
    mean, var = (torch.cat(parts) for parts in zip(*found, strict=True))
    if not group:
        return mean, var
    members = dist.distributed_c10d._resolve_process_group(group)
    local = torch.stack([mean, var])
    gathered = [torch.empty_like(local) for _ in range(members.size())]
    dist.all_gather(gathered, local, group=members)
    mean, var = torch.stack(gathered, 1)
    centre = mean.mean(0)
    return centre, (var + (mean - centre) ** 2).mean(0)


def total_over(tensors: list[Tensor], count: int, group: str) -> tuple[list[Tensor], int]:
    """Tensors summed over the processes of a group, and the count of all its values."""
    if not group:
        return tensors, count
    members = dist.distributed_c10d._resolve_process_group(group)
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat, group=members)
    parts = flat.split([t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)], count * members.size()


def _moments(matrix: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    if matrix.device.type == "cpu" and matrix.dtype in (torch.float32, torch.float64):
        return torch.ops.aten.batch_norm_update_stats(image(matrix.contiguous(), like), None, None, 0.0)
    if matrix.device.type == "cpu" and matrix.dtype == torch.bfloat16:
        # Running statistics in float32, which a momentum of 0 leaves alone, make those of the batch float32.
        running = torch.zeros(matrix.shape[1])
        return torch.ops.aten.batch_norm_update_stats(image(matrix.contiguous(), like), running, running, 0.0)
    values = matrix if matrix.dtype == torch.float64 else matrix.float()
    var, mean = torch.var_mean(values, 0, correction=0)
    return mean, var
