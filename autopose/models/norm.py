"""Batch normalisation of the supernet and of derived networks.

A network is in one of three states, and every normalisation in it reads the same ``NormState``:
"track" (batch statistics, running ones updated: training), "batch" (batch statistics, nothing updated: supernet) and
"running" (running statistics: inference of a trained network).
"""

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

NORM_STATES = ("track", "batch", "running")


class NormState:
    """The state shared by all normalisations of one network; ``synchronised`` takes statistics over all processes."""

    def __init__(self):
        self.mode = "track"
        self.momentum = 0.1
        self.synchronised = False

    @property
    def training(self) -> bool:
        """Whether batches' statistics are used."""
        return self.mode != "running"

    @property
    def updates(self) -> bool:
        """Whether running statistics move."""
        return self.mode == "track"

    @property
    def process_group(self):
        """The group over which batch statistics are taken, None for this process alone."""
        return dist.group.WORLD if self.synchronised and dist.is_initialized() else None


class BatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` for x (N, C, H, W) that obeys a ``NormState`` instead of ``train`` and ``eval``."""

    def __init__(self, channels: int, state: NormState, affine: bool = True):
        super().__init__(channels, affine=affine)
        self.state = state
        del self.num_batches_tracked
        self.num_batches_tracked = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), normalised as the state says."""
        state = self.state
        if state.training and state.process_group is not None:
            from autopose.kernels.reference.mixed_edge import synchronised_batch_norm

            running = (self.running_mean, self.running_var) if state.updates else (None, None)
            return synchronised_batch_norm(
                x, self.weight, self.bias, *running, state.momentum, self.eps, state.process_group
            )
        use_running = state.updates or not state.training
        mean, var = (self.running_mean, self.running_var) if use_running else (None, None)
        return F.batch_norm(x, mean, var, self.weight, self.bias, state.training, state.momentum, self.eps)
