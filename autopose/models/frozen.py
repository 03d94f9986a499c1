"""A network for inference on a CPU without the time between its operations."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from .inference import InferenceNetwork
from .network import PoseNetwork

# Calls that are made as they are: tracing takes the time of a few dozen.
AFTER = 8


class FrozenNetwork:
    """Heatmaps of an `InferenceNetwork`, traced and frozen once it was called ``after`` times with one size of image.

    The operations are the same; Python between them, and layouts that change from one to the next, are gone: worth most
    for a narrow network and a single image (``python -m autopose.latency``).

    Args:
        network: it is converted in place where ``half``.
        half: weights and activations are bfloat16, which saves the casts that autocast makes at every call.
    """

    def __init__(self, network: InferenceNetwork, after: int = AFTER, half: bool = False):
        self.dtype = torch.bfloat16 if half else torch.float32
        self.network, self.after, self.left = network.to(self.dtype), after, after
        self.size: torch.Size | None = None
        self.frozen: torch.jit.ScriptModule | None = None

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
            self.frozen = _frozen(self.network, images)
        return self.frozen(images)


def quickest(network: PoseNetwork, device: torch.device, half: bool = False) -> Callable[[Tensor], Tensor]:
    """The fastest form of a derived network by running statistics: folded where it can be, on a CPU frozen as well.

    Args:
        half: compute in bfloat16, on a CPU without autocast; other devices have theirs around it.
    """
    if not network.foldable:
        return network
    folded = network.for_inference(device)
    return FrozenNetwork(folded, half=half) if device.type == "cpu" else folded


def _frozen(network: InferenceNetwork, images: Tensor) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that were checked become constants, which `FrozenNetwork` sees to
        return torch.jit.freeze(torch.jit.trace(network, images, check_trace=False))
