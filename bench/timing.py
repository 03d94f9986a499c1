"""Interleaved timing with quantiles, and what the device can do at most."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

QUANTILES = (0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Timing:
    """Quantiles 0.2, 0.5 and 0.8 in milliseconds over ``rounds`` calls."""

    p20_ms: float
    p50_ms: float
    p80_ms: float
    rounds: int


class Interleaved:
    """Times several functions in turn, a call of each a round, so that a busy machine slows all of them alike."""

    def __init__(self, functions: Mapping[str, Callable[[], object]], gpu: bool):
        self.functions, self.gpu, self.rounds = functions, gpu, 0
        self.seconds: dict[str, list[float]] = {name: [] for name in functions}

    def warm_up(self, calls: int) -> None:
        for function in self.functions.values():
            for _ in range(calls):
                function()
        if self.gpu:
            torch.cuda.synchronize()

    def round(self) -> None:
        """One timed call of every function, every second time in reverse: none always follows the same other."""
        self.rounds += 1
        order = list(self.functions.items())
        for name, function in order if self.rounds % 2 else reversed(order):
            self.seconds[name].append(self._on_gpu(function) if self.gpu else self._on_cpu(function))

    def timings(self) -> dict[str, Timing]:
        quantiles = torch.tensor(QUANTILES, dtype=torch.float64)
        found = {}
        for name, seconds in self.seconds.items():
            values = torch.tensor(seconds, dtype=torch.float64).mul(1e3).quantile(quantiles)
            found[name] = Timing(*values.tolist(), len(seconds))
        return found

    @staticmethod
    def _on_cpu(function: Callable[[], object]) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    @staticmethod
    def _on_gpu(function: Callable[[], object]) -> float:
        """Device time from an idle device to the end of the call's work: launching is part of it."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        begin.record()
        function()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


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
