"""What a GPU can do at most."""

from dataclasses import dataclass

import torch

from autopose.runs.timing import Interleaved


@dataclass(frozen=True)
class Ceilings:
    """What this device reached: copied bytes (read and written) and bfloat16 matrix multiply-adds, per second."""

    bytes_per_s: float
    macs_per_s: float


def measure_ceilings() -> Ceilings:
    """Best of several copies of 1 GiB and products of 8192 x 8192 matrices on the current GPU."""
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    timer = Interleaved({"copy": lambda: target.copy_(source), "matmul": lambda: a @ b}, gpu=True)
    timer.warm_up(3)
    for _ in range(20):
        timer.round()
    best = {name: min(seconds) for name, seconds in timer.seconds.items()}
    return Ceilings(2 * source.numel() * 4 / best["copy"], side**3 / best["matmul"])
