"""The candidate operations of an edge: the six of §3.1.2 by one table, others by the dotted path of an ``Operation``.

An operation's name is its key in ``TABLE``, or ``package.module:Name``: so it stands in configurations, genotypes and
``architecture.json``. C is a branch's number of channels.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from autopose.errors import UserError
from autopose.lookup import lookup


@dataclass(frozen=True)
class Operation:
    """What an edge may do to a tensor (N, C, H, W), keeping its shape.

    Args:
        title: in legends, e.g. "3×3 separable convolution"; label: in a square of the drawing, at most five characters.
        colour: of that square, #rrggbb.
        macs: multiply-adds of one output pixel as a function of C (convolutions only, as fvcore and HRNet count).
        module: makes the ``nn.Module`` for C channels; its ``nn.BatchNorm2d`` obey the network's normalisation state.
            None for the built-in six, which are the kernels'.
        normalised: the network appends batch normalisation.
    """

    title: str
    label: str
    colour: str
    macs: Callable[[int], int]
    module: Callable[[int], Any] | None = None
    normalised: bool = True

    def __post_init__(self):
        if not re.fullmatch("#[0-9a-fA-F]{6}", self.colour):
            raise UserError(f"the colour of operation {self.title!r} must be like #0072b2, but is {self.colour!r}")
        if not 1 <= len(self.label) <= 5:
            raise UserError(f"the label of operation {self.title!r} needs one to five characters, not {self.label!r}")


# In the order in which α, mixing weights and kernels count them. Okabe and Ito's palette and an indigo: convolutions
# from light to dark blue by size, pools warm, skip grey.
TABLE = {
    "conv_1x1": Operation("1×1 convolution", "1×1", "#9ad0f0", lambda c: c * c),
    "conv_3x3": Operation("3×3 convolution", "3×3", "#0072b2", lambda c: 9 * c * c),
    "conv_5x5": Operation("5×5 convolution", "5×5", "#2e2585", lambda c: 25 * c * c),
    "avg_pool_3x3": Operation("3×3 average pool", "avg", "#f2c14e", lambda c: 0),
    "max_pool_3x3": Operation("3×3 max pool", "max", "#d55e00", lambda c: 0),
    "skip_connect": Operation("skip", "skip", "#d7d9dd", lambda c: 0, normalised=False),
}
OPS = tuple(TABLE)


@cache
def operation(name: str) -> Operation:
    """The operation called ``name``.

    Raises:
        UserError: no such name, nothing at the dotted path, or something else than an ``Operation`` with a module.
    """
    found = lookup(name, TABLE, "an operation")
    if not isinstance(found, Operation) or (name not in TABLE and found.module is None):
        raise UserError(f"operation {name!r} must be an autopose.space.Operation with a module, not {found!r:.60}")
    return found


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Names without repetition as columns of α and of mixing weights: the built-in ones first, in ``OPS``' order."""
    names = list(dict.fromkeys(names))
    return tuple(op for op in OPS if op in names) + tuple(name for name in names if name not in OPS)
