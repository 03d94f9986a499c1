"""What a run prints at its end, and architectures and networks from what a user names."""

import logging

import torch

from autopose.config import Config
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.space import Architecture, builtin_architecture
from autopose.space.architecture import BUILTIN

logger = logging.getLogger("autopose")
KEPT = ("experiment", "data", "kernels", "device", "threads", "seed", "deterministic")


def resolve_architecture(config: Config) -> Architecture:
    """The architecture that ``config.architecture`` names: a built-in one in the configured space, or a JSON file."""
    if not config.architecture:
        raise UserError(f"no architecture was given: architecture=PATH.json, or one of {', '.join(BUILTIN)}")
    if config.architecture in BUILTIN:
        return builtin_architecture(config.architecture, config.space.macro(), config.seed, config.space.operations)
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
