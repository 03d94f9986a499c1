"""Operations of other packages as modules of a network (see ``autopose.space.Operation``)."""

from torch import nn

from autopose.errors import UserError
from autopose.space import operation

from .norm import BatchNorm2d, NormState


def foreign_module(name: str, channels: int, affine: bool, state: NormState) -> nn.Sequential:
    """The module of an operation on (N, C, H, W) of ``channels``, its normalisation tied to the network's state.

    Raises:
        UserError: the operation's ``module`` makes no ``nn.Module``.
    """
    chosen = operation(name)
    module = chosen.module(channels)
    if not isinstance(module, nn.Module):
        raise UserError(f"the module of operation {name!r} must be an nn.Module, not {module!r:.60}")
    whole = nn.Sequential(module)
    if chosen.normalised:
        whole.append(BatchNorm2d(channels, state, affine))
    _adopt(whole, affine, state)
    return whole


def _adopt(module: nn.Module, affine: bool, state: NormState) -> None:
    """Put the network's batch normalisation in the place of PyTorch's, which would not know its state."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, BatchNorm2d(child.num_features, state, affine))
        else:
            _adopt(child, affine, state)
