"""A network without its head: feature maps for somebody else's detector or head."""

import torch
from torch import Tensor, nn

from autopose.space import Architecture

from .inference import InferenceNetwork
from .network import PoseNetwork


class Backbone(nn.Module):
    """An architecture's stem and multi-scale modules.

    Attributes:
        out_channels: C of every feature map.
        strides: of every feature map: its height and width are the image's over this.
    """

    def __init__(self, network: PoseNetwork | InferenceNetwork):
        """Share a network's modules; its head gets no gradient any more.

        Args:
            network: a derived network, or its form for inference.

        Raises:
            ValueError: a supernet.
        """
        super().__init__()
        if isinstance(network, PoseNetwork) and network.is_supernet:
            raise ValueError("a backbone is made from a derived network, this one is a supernet")
        self.network = network
        self.out_channels, self.strides = network.space.macro.channels, network.space.macro.scales
        # The head's parameters would get no gradient, and several processes would wait for it.
        network.head.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (N, 3, H, W) to feature maps (N, C_b, H / s_b, W / s_b), the finest first."""
        return self.network.features(images)

    def for_inference(self, device: torch.device | None = None) -> "Backbone":
        """A copy for inference alone, to be traced, compiled and exported; see ``PoseNetwork.for_inference``."""
        if isinstance(self.network, InferenceNetwork):
            return self
        return Backbone(self.network.for_inference(device))


def network_of(architecture: Architecture, num_joints: int = 17, width: float = 2) -> PoseNetwork:
    """The plain ``nn.Module`` of an architecture, with new weights.

    Args:
        architecture: what a search found.
        num_joints: K heatmaps.
        width: channels over the supernet's (the paper: 2).
    """
    return PoseNetwork(architecture.space(width), num_joints)
