"""Interleaved timing with quantiles, of whatever runs on one device."""

import time
from collections.abc import Callable, Hashable, Mapping
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

    def __init__(self, functions: Mapping[Hashable, Callable[[], object]], gpu: bool):
        self.functions, self.gpu, self.rounds = functions, gpu, 0
        self.seconds: dict[Hashable, list[float]] = {name: [] for name in functions}

    def warm_up(self, calls: int) -> None:
        """Call every function some times, untimed."""
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

    def timings(self) -> dict[Hashable, Timing]:
        """The quantiles of every function."""
        quantiles = torch.tensor(QUANTILES, dtype=torch.float64)
        found = {}
        for name, seconds in self.seconds.items():
            values = torch.tensor(seconds, dtype=torch.float64).mul(1e3).quantile(quantiles)
            p20, p50, p80 = values.tolist()
            found[name] = Timing(p20, p50, p80, len(seconds))
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
