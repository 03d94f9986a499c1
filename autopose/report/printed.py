"""What a run prints at its end."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from autopose.config import Config, overrides_for, shell_command
from autopose.evaluation.scoring import Score
from autopose.models import PoseNetwork
from autopose.space import Architecture
from autopose.space.macs import count_macs

logger = logging.getLogger("autopose")
# What a training takes over from the search that found its architecture.
REPRODUCED = (
    "data",
    "train",
    "evaluate",
    "kernels",
    "device",
    "threads",
    "seed",
    "deterministic",
    "space.derived_affine",
)
FOUND_FILES = (
    ("file", "architecture.json"), ("figure", "architecture.png"), ("figure", "search_curves.png"),
    ("metrics", "metrics.jsonl"),
)  # fmt: skip


def size_line(architecture: Architecture, width: float, image_size, num_joints: int) -> str:
    """GMACs in both conventions and parameters of the derived network."""
    space = architecture.space(width)
    macs = count_macs(space.macro, architecture.macro, architecture.cells, image_size, num_joints)
    with torch.device("meta"):
        network = PoseNetwork(space, num_joints)
    parameters = sum(p.numel() for p in network.parameters())
    return (
        f"{macs / 1e9:.3f} GMACs (10^9; {macs / 2**30:.3f} x 2^30 as HRNet's papers print them), "
        f"{parameters / 1e6:.2f} M parameters at {image_size[0]}x{image_size[1]}, width x{width:g}"
    )


def run_command(task: str, given: Sequence[str]) -> str:
    """The command line of this run, to be pasted into a shell."""
    return shlex.join(["python", "-m", f"autopose.{task}", *given])


def train_command(config: Config, architecture: Path) -> str:
    """The command line that trains a found architecture on the data of the run."""
    return shell_command(
        "autopose.train", [*overrides_for(config, "train", REPRODUCED), ("architecture", str(architecture))]
    )


def evaluate_command(checkpoint: Path) -> str:
    """The command line that evaluates a checkpoint on the data it was trained for."""
    return shell_command("autopose.evaluate", [("checkpoint", str(checkpoint))])


def predict_command(checkpoint: str | Path) -> str:
    """The command line that draws a checkpoint's poses on pictures of one's own."""
    return shell_command("autopose.predict", [("checkpoint", str(checkpoint)), ("source", "FILE_OR_FOLDER")])


def print_files(folder: Path, files: Sequence[tuple[str, str]]) -> None:
    """A line for each (what, name) that is in the folder of a run."""
    for what, name in files:
        if (folder / name).exists():
            logger.info("%-10s %s", what, folder / name)


def print_found(architecture: Architecture, config: Config, folder: Path, num_joints: int) -> str:
    """The one summary at the end of a search; returns the command that trains what was found."""
    found = architecture.found_by
    following = train_command(config, folder / "architecture.json")
    logger.info("")
    logger.info("found      beta %s (branches 4x.. by stage), reward %.4f", architecture.macro, found["reward"])
    logger.info("size       %s", size_line(architecture, config.search.width, config.data.image_size, num_joints))
    print_files(folder, FOUND_FILES)
    logger.info("next       %s", following)
    return following


def print_scores(scores: list[Score], name: str) -> None:
    """Tables in the literature's columns, each with its protocol."""
    for score in scores:
        logger.info("\n%s\n%s", score.table(name), score.description())
