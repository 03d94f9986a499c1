"""A network for inference on a CPU without the time between its operations."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .inference import InferenceNetwork
from .network import PoseNetwork

# Calls that are made as they are: a faster form takes the time of a few dozen to be made.
AFTER = 32
Freeze = Callable[[InferenceNetwork, Tensor], Callable[[Tensor], Tensor]]


class FrozenNetwork:
    """Heatmaps of an `InferenceNetwork`, in a faster form once it was called ``after`` times with one size of image.

    Args:
        network: it is converted in place where ``half``.
        half: weights and activations are bfloat16, which saves the casts that autocast makes at every call.
        freeze: makes the faster form of the network for images (N, 3, H, W) of their size; `traced`.
    """

    def __init__(self, network: InferenceNetwork, after: int = AFTER, half: bool = False, freeze: Freeze | None = None):
        self.dtype = torch.bfloat16 if half else torch.float32
        self.network, self.after, self.left = network.to(self.dtype), after, after
        self.freeze, self.size = freeze or traced, None
        self.frozen: Callable[[Tensor], Tensor] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, K, H / 4, W / 4) float32."""
        # Whatever a caller computes in, here it is settled.
        with torch.autocast("cpu", enabled=False):
            return self._run(images.to(self.dtype)).float()

    def _run(self, images: Tensor) -> Tensor:
        if images.shape[1:] != self.size:
            self.size, self.frozen, self.left = images.shape[1:], None, self.after
        if self.left:
            self.left -= 1
            return self.network(images)
        if self.frozen is None:
            self.frozen = self.freeze(self.network, images)
        return self.frozen(images)


def quickest(
    network: PoseNetwork, device: torch.device, half: bool = False, after: int = AFTER
) -> Callable[[Tensor], Tensor]:
    """PyTorch's fastest form of a derived network by running statistics: folded if it can be, on a CPU frozen too.

    Args:
        half: compute in bfloat16, on a CPU without autocast; other devices have theirs around it.
        after: calls before it is frozen.
    """
    if not network.foldable:
        return network
    folded = network.for_inference(device)
    return FrozenNetwork(folded, after, half) if device.type == "cpu" else folded


def traced(network: InferenceNetwork, images: Tensor) -> torch.jit.ScriptModule:
    """The same operations for images of this size, without Python and changes of layout between them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that were checked become constants, which `FrozenNetwork` sees to
        return torch.jit.freeze(torch.jit.trace(network, images, check_trace=False))
