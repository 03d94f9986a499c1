"""Batch statistics of several matrices at once, over one process or a group of them."""

import torch
import torch.distributed as dist
from torch import Tensor

from .convolution import image


def batch_statistics(matrices: list[Tensor], like: Tensor, group: str) -> tuple[list[Tensor], list[Tensor]]:
    """Means and biased variances of the columns of matrices (P, any); ``group`` names a process group or is empty."""
    found = [_moments(matrix, like) for matrix in matrices]
    means, variances = [m for m, _ in found], [v for _, v in found]
    if not group:
        return means, variances
    widths = [m.numel() for m in means]
    local = torch.stack([torch.cat(means), torch.cat(variances)])
    members = _resolve(group)
    gathered = [torch.empty_like(local) for _ in range(members.size())]
    dist.all_gather(gathered, local, group=members)
    mean, var = torch.stack(gathered, 1)
    centre = mean.mean(0)
    spread = (var + (mean - centre) ** 2).mean(0)
    return list(centre.split(widths)), list(spread.split(widths))


def total_over(tensors: list[Tensor], count: int, group: str) -> tuple[list[Tensor], int]:
    """Tensors summed over the processes of a group, and the count of all its values."""
    if not group:
        return tensors, count
    members = _resolve(group)
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat, group=members)
    parts = flat.split([t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)], count * members.size()


def _moments(matrix: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    if matrix.device.type != "cpu" or matrix.dtype in (torch.bfloat16, torch.float16):
        values = matrix if matrix.dtype == torch.float64 else matrix.float()
        var, mean = torch.var_mean(values, 0, correction=0)
        return mean, var
    return torch.ops.aten.batch_norm_update_stats(image(matrix.contiguous(), like), None, None, 0.0)


def _resolve(group: str):
    return dist.distributed_c10d._resolve_process_group(group)
