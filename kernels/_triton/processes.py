"""Statistics and sums over the batches of several processes, for the Triton kernels."""

import torch
import torch.distributed as dist
from torch import Tensor


def statistics_over(group, mean: Tensor, var: Tensor, rows: list[int], pixels: int) -> tuple[Tensor, Tensor]:
    """Mean and variance over all processes (Chan et al.) of the ``rows`` of two tables; the other rows are arbitrary.

    ``pixels``: values of this process behind each.
    """
    wanted = torch.stack([table[row] for table in (mean, var) for row in rows])
    mine = torch.cat([wanted.flatten(), wanted.new_full((1,), pixels)]).double()
    every = mine.new_empty(dist.get_world_size(group) * mine.numel())
    dist.all_gather_into_tensor(every, mine, group=group)
    every = every.view(-1, mine.numel())
    count = every[:, -1].view(-1, 1, 1, 1)
    means, variances = every[:, :-1].view(-1, 2, len(rows), wanted[0].numel()).split(1, 1)
    share = count / count.sum()
    total = (means * share).sum(0)
    spread = ((variances + (means - total).square()) * share).sum(0)
    found = torch.empty_like(mean), torch.empty_like(var)
    for table, values in zip(found, (total[0], spread[0]), strict=True):
        for row, value in zip(rows, values, strict=True):
            table[row].copy_(value.view_as(table[row]))
    return found


def sums_over(group, sums: Tensor, pixels: int) -> Tensor:
    """Parts (M, T, ...) summed over T and all processes, (M, 1, ...).

    They are scaled so that division by this process's ``pixels`` gives the mean over all.
    """
    total = sums.double().sum(1).flatten()
    total = torch.cat([total, total.new_full((1,), pixels)])
    dist.all_reduce(total, group=group)
    return (total[:-1] * (pixels / total[-1:])).float().view(len(sums), 1, *sums.shape[2:])


def named_group(name: str):
    """The process group of a name, None for the empty one: operators take names."""
    if not name:
        return None
    from torch.distributed.distributed_c10d import _resolve_process_group

    return _resolve_process_group(name)
