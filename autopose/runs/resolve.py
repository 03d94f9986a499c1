"""What a run prints at its end, and architectures and networks from what a user names."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from autopose.config import Config
from autopose.data.schema import COCO, MPII
from autopose.errors import UserError
from autopose.lookup import nearest
from autopose.models import PoseNetwork
from autopose.runs.datasets import load_annotations
from autopose.space import Architecture, builtin_architecture
from autopose.space.builtin import BUILTIN, Size, width_for

logger = logging.getLogger("autopose")


def resolve_architecture(config: Config, num_joints: int) -> Architecture:
    """The architecture that ``config.architecture`` names: a built-in one in the configured space, or a JSON file.

    A random one of a band (``architecture_gmacs``) is counted at the width, image size and joints of its training.
    """
    if not config.architecture:
        raise UserError(f"no architecture was given: architecture=PATH.json, or one of {', '.join(BUILTIN)}")
    if config.architecture in BUILTIN:
        seed = config.seed if config.architecture_seed is None else config.architecture_seed
        band = tuple(config.architecture_gmacs) if config.architecture_gmacs else None
        size = Size(config.data.image_size, num_joints, config.train.width)
        macro, operations = config.space.macro(), config.space.operations
        return builtin_architecture(config.architecture, macro, seed, operations, band, size)
    if not Path(config.architecture).exists():
        raise UserError(
            f"there is no file {config.architecture}, and no architecture of that name: "
            f"{nearest(config.architecture, BUILTIN)}"
        )
    return Architecture.load(config.architecture)


def joints_of(config: Config) -> int:
    """Joints of the configured data: read from its annotation where a root is given, else COCO's 17 or MPII's 16."""
    if config.data.joints:
        return len(config.data.joints)
    if config.data.kind == "coco" and config.data.root:
        return load_annotations(config.data, "val", need_images=False).schema.num_joints
    return (MPII if config.data.kind == "mpii" else COCO).num_joints


def sized(config: Config, architecture: Architecture, num_joints: int) -> Config:
    """The configuration with the width that ``train.gmacs`` asks for; unchanged without it."""
    gmacs = config.train.gmacs
    if not gmacs:
        return config
    size = Size(config.data.image_size, num_joints)
    width = width_for(architecture, gmacs, size)
    found = replace(size, width=width).gmacs(architecture)
    channels = ", ".join(map(str, architecture.macro_space.widened(width).channels))
    logger.info("width      x%g (channels %s): %.4g GMACs, for %.4g", width, channels, found, gmacs)
    return replace(config, train=replace(config.train, width=width))


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
    size = config.data.image_size
    logger.info(
        "network    input %dx%d%s, %d joints, of %s", *size, " (UDP)" if config.data.udp else "", network.num_joints,
        config.checkpoint,
    )  # fmt: skip
    return network.place(device).eval()


def order_joints(network: PoseNetwork, order: Sequence[int]) -> None:
    """Let output k of a network be its joint ``order[k]``, in place."""
    if list(order) == list(range(network.num_joints)):
        return
    logger.info("joints     matched by name: the data set has the network's in another order")
    rows = torch.as_tensor(list(order), device=network.head.predict.weight.device)
    with torch.no_grad():
        for parameter in network.head.predict.parameters():
            parameter.copy_(parameter[rows].clone())
