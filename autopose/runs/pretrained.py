"""Starting a training from another one's network: the layers that match, and the head by the joints' names."""

import logging

import torch

from autopose.data.names import same_joints
from autopose.data.schema import KeypointSchema, schema_from_dict
from autopose.errors import UserError
from autopose.models import PoseNetwork

logger = logging.getLogger("autopose")
HEAD = "head.predict."


def load_pretrained(network: PoseNetwork, content: dict, joints: KeypointSchema) -> str:
    """Copy what fits from a training checkpoint into ``network``, in place.

    Layers match by name and shape. The last convolution, one output a joint, is taken in the order of ``joints`` where
    the checkpoint has the same joints by name, and stays as it is (new) where they differ.

    Args:
        network: of the new training.
        content: of the checkpoint, see ``read_checkpoint``.
        joints: of the new data.

    Returns:
        What was taken and what is new.

    Raises:
        UserError: the checkpoint is no training's, or nothing in it fits.
    """
    try:
        state = content["state"]
        known = schema_from_dict(state["schema"])
        source = dict(state["evaluated"] if state["evaluated"] is not None else state["network"])
    except (KeyError, TypeError) as error:
        raise UserError(f"the checkpoint does not hold a trained network: {error!r}") from None
    order = same_joints(joints.joints, known.joints)
    for name in [name for name in source if name.startswith(HEAD)]:
        source[name] = source[name][order] if order is not None else None
    own = network.state_dict()
    fitting = {name: source[name] for name, tensor in own.items() if _fits(source.get(name), tensor)}
    parameters = {name: p.numel() for name, p in network.named_parameters()}
    taken = sum(count for name, count in parameters.items() if name in fitting)
    if not taken:
        raise UserError("nothing in the checkpoint fits the network: it is of another architecture, width or space")
    network.load_state_dict(fitting, strict=False)
    total = sum(parameters.values())
    new = [name for name in parameters if name not in fitting and not name.startswith(HEAD)]
    others = f"; new: {', '.join(new[:3])}{', ...' if len(new) > 3 else ''} ({len(new)} tensors)" if new else ""
    return f"{taken / 1e6:.2f} of {total / 1e6:.2f} M parameters; {_head(order, known, joints)}{others}"


def _fits(value: object, tensor: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == tensor.shape


def _head(order: list[int] | None, known: KeypointSchema, joints: KeypointSchema) -> str:
    if order is None:
        return f"a new head for {joints.num_joints} joints, as the checkpoint's {known.num_joints} are not the same"
    same = order == list(range(len(order)))
    return f"the head of its {known.num_joints} joints{'' if same else ', in the order of the data'}"
