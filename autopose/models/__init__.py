"""Networks over the search space: one ``PoseNetwork`` for supernets and derived networks."""

from .backbone import Backbone, network_of
from .cell import Cell, EdgeMixture
from .loss import joints_mse_loss
from .module import MultiScaleModule
from .network import PoseNetwork

__all__ = ["Backbone", "Cell", "EdgeMixture", "MultiScaleModule", "PoseNetwork", "joints_mse_loss", "network_of"]
