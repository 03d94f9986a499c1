"""Whether the steps of a search run as CUDA graphs (``search.graphs``), and why not."""

import logging

import torch
from torch import nn

from autopose.config.search_keys import SearchConfig
from autopose.errors import UserError
from autopose.kernels import dispatch
from autopose.models import PoseNetwork
from autopose.models.cell import Cell
from autopose.models.pieces import Pieces

logger = logging.getLogger("autopose")


def step_pieces(
    settings: SearchConfig,
    network: PoseNetwork,
    device: torch.device,
    dtype: torch.dtype,
    world_size: int,
    single: bool,
) -> Pieces | None:
    """What runs the parts of branches by graphs; None where ``search.graphs`` is false or auto lacks something.

    Args:
        dtype: of activations.
        single: whether the algorithm trains one operation an edge.

    Raises:
        UserError: search.graphs=true where graphs cannot run, with the reason.
    """
    if settings.graphs == "false":
        return None
    missing = _missing(settings, network, device, dtype, world_size, single)
    if missing and settings.graphs == "true":
        raise UserError(f"search.graphs=true cannot run: {missing}; or set search.graphs=auto")
    logger.info("graphs     %s", f"none: {missing}" if missing else "a CUDA graph for each part of a branch")
    return None if missing else Pieces()


def _missing(
    settings: SearchConfig, network: nn.Module, device: torch.device, dtype: torch.dtype, world_size: int, single: bool
) -> str:
    """What graphs lack, in words; empty where nothing."""
    if device.type != "cuda":
        return f"CUDA graphs need a CUDA GPU, and this search runs on {device.type}"
    if single or settings.gumbel.relaxation == "one_op":
        return "one operation an edge is another list of launches in every step"
    if not all(cell.is_full and not cell.foreign for cell in network.modules() if isinstance(cell, Cell)):
        return "every edge must have the six built-in operations (space.operations) and no others"
    for operator in ("mixed_edge", "resample_sum"):
        found = dispatch.resolve(operator, getattr(network.choice, operator), device, dtype)
        if found.implementation != "triton":
            return f"kernels.{operator} is not the fused one on this GPU ({found.implementation}: {found.reason})"
    if settings.activation_checkpointing:
        return "search.activation_checkpointing=true runs the modules twice"
    if settings.sync_bn and world_size > 1:
        return "search.sync_bn=true exchanges statistics of several processes within the cells"
    if settings.batch_size % (world_size * settings.accumulate * settings.paths):
        return (
            f"search.batch_size={settings.batch_size} is not shared evenly by {world_size} process(es), "
            f"search.accumulate={settings.accumulate} and search.paths={settings.paths}"
        )
    return ""
