"""What a run prints at its end."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from autopose.config import Config
from autopose.evaluation.scoring import Score
from autopose.models import PoseNetwork
from autopose.space import Architecture
from autopose.space.macs import count_macs

logger = logging.getLogger("autopose")
KEPT = ("experiment", "data", "kernels", "device", "threads", "seed", "deterministic")


def size_line(architecture: Architecture, width: int, image_size, num_joints: int) -> str:
    """GMACs in both conventions and parameters of the derived network."""
    space = architecture.space(width)
    macs = count_macs(space.macro, architecture.macro, architecture.cells, image_size, num_joints)
    with torch.device("meta"):
        network = PoseNetwork(space, num_joints)
    parameters = sum(p.numel() for p in network.parameters())
    return (
        f"{macs / 1e9:.3f} GMACs (10^9; {macs / 2**30:.3f} x 2^30 as HRNet's papers print them), "
        f"{parameters / 1e6:.2f} M parameters at {image_size[0]}x{image_size[1]}, width x{width}"
    )


def run_command(task: str, given: Sequence[str]) -> str:
    """The command line of this run, to be pasted into a shell."""
    return shlex.join(["python", "-m", f"autopose.{task}", *given])


def train_command(config: Config, architecture: Path, given: Sequence[str] = ()) -> str:
    """The command line that trains a found architecture on the same data.

    Args:
        given: overrides of the search's command line; those of data, kernels and machine are kept.
    """
    kept = [item for item in given if item.split("=")[0].split(".")[0] in KEPT]
    keys = {item.split("=")[0] for item in kept}
    if "experiment" not in keys:
        kept.insert(0, f"experiment={config.name}".replace("=ablation_", "=ablation/"))
    if config.data.kind != "synthetic" and "data.root" not in keys:
        kept.append(f"data.root={config.data.root}")
    return shlex.join(["python", "-m", "autopose.train", *kept, f"architecture={architecture}"])


def print_found(
    architecture: Architecture, config: Config, folder: Path, num_joints: int, given: Sequence[str] = ()
) -> None:
    """The one summary at the end of a search."""
    found = architecture.found_by
    logger.info("")
    logger.info("found      beta %s (branches 4x.. by stage), reward %.4f", architecture.macro, found["reward"])
    logger.info("size       %s", size_line(architecture, config.search.width, config.data.image_size, num_joints))
    logger.info("file       %s", folder / "architecture.json")
    for figure in ("architecture.png", "search_curves.png"):
        if (folder / figure).exists():
            logger.info("figure     %s", folder / figure)
    logger.info("metrics    %s", folder / "metrics.jsonl")
    logger.info("next       %s", train_command(config, folder / "architecture.json", given))


def print_scores(scores: list[Score], name: str) -> None:
    """Tables in the literature's columns, each with its protocol."""
    for score in scores:
        logger.info("\n%s\n%s", score.table(name), score.description())
