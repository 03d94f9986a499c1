"""Networks over the search space: one ``PoseNetwork`` for supernets and derived networks."""

from .cell import Cell, EdgeMixture
from .loss import joints_mse_loss
from .module import MultiScaleModule
from .network import PoseNetwork

__all__ = ["Cell", "EdgeMixture", "MultiScaleModule", "PoseNetwork", "joints_mse_loss"]
