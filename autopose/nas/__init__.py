"""The bilevel search (§3.2, Algorithm 1): α by gradients, β by REINFORCE."""

from .alpha import ArchitectureParameters, GumbelSettings
from .bilevel import BilevelSearch
from .controller import Controller, ControllerSettings, Reinforce
from .derive import cells_of, derive_cells, derive_ops, inherit_weights, one_op_network
from .settings import BilevelSettings

__all__ = ["ArchitectureParameters", "BilevelSearch", "BilevelSettings", "Controller", "ControllerSettings"]
__all__ += [
    "GumbelSettings",
    "Reinforce",
    "cells_of",
    "derive_cells",
    "derive_ops",
    "inherit_weights",
    "one_op_network",
]
