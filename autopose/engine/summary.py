"""What a run prints at its end, and architectures and networks from what a user names."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from autopose.config import Config
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.space import Architecture, builtin_architecture
from autopose.space.architecture import BUILTIN
from autopose.space.macs import count_macs

from .scoring import Score

logger = logging.getLogger("autopose")
KEPT = ("experiment", "data", "kernels", "device", "threads", "seed", "deterministic")


def resolve_architecture(config: Config) -> Architecture:
    """The architecture that ``config.architecture`` names: a built-in one in the configured space, or a JSON file."""
    if not config.architecture:
        raise UserError(f"no architecture was given: architecture=PATH.json, or one of {', '.join(BUILTIN)}")
    if config.architecture in BUILTIN:
        return builtin_architecture(config.architecture, config.space.macro(), config.seed)
    return Architecture.load(config.architecture)


def load_network(content: dict, config: Config, device: torch.device) -> PoseNetwork:
    """The trained network of a training checkpoint (the averaged weights where there are any), ready to predict."""
    try:
        architecture, state = Architecture.from_json(content["architecture"]), content["state"]
        network = PoseNetwork(
            architecture.space(config.train.width), state["num_joints"], config.space.derived_affine, config.kernels
        )
        network.load_state_dict(state["evaluated"] if state["evaluated"] is not None else state["network"])
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:160]
        raise UserError(f"the checkpoint's weights do not fit the network that it describes: {reason}") from None
    return network.place(device).eval()


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
