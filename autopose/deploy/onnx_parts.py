"""The time of a space's parts as ONNX Runtime runs them, which is what predict runs on a processor in float32.

A part by itself would be charged for its call and for bringing tensors into the runtime's own layout and back, which a
network pays once. So a part's time is half of what three of it in a row take over one; of a resampling, which cannot
follow itself, what it takes over the addition of 1. Stem and head stand at the ends, and are charged.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from autopose.deploy.onnx_file import OnnxNetwork, onnx_bytes
from autopose.runs.timing import Timing
from autopose.space.latency import Part

WHOLE, MORE, LESS = "whole", "more", "less"
IN_A_ROW = 3
Key = tuple[Part, int, str]


class _Calls(nn.Module):
    """A function as a module that can be traced; ``times`` times in a row."""

    def __init__(self, function: Callable, times: int = 1):
        super().__init__()
        self.function, self.times = function, times

    def forward(self, *inputs: Tensor):
        """What the function returns."""
        found = self.function(*inputs)
        for _ in range(self.times - 1):
            found = self.function(found)
        return found


def onnx_functions(calls: Mapping[Part, tuple[Callable, Sequence[Tensor]]], batch: int) -> dict[Key, Callable]:
    """What to time for every part of ``Parts.calls`` at a batch."""
    found: dict[Key, Callable] = {}
    for part, (function, inputs) in calls.items():
        if part[0] in ("stem", "head"):
            forms = {WHOLE: _Calls(function)}
        elif part[0] == "resample":
            forms = {MORE: _Calls(function), LESS: _Calls(lambda x: x + 1)}
        else:
            forms = {MORE: _Calls(function, IN_A_ROW), LESS: _Calls(function)}
        found |= {(part, batch, name): _session(form.eval(), inputs) for name, form in forms.items()}
    return found


def part_timings(timings: Mapping[Key, Timing]) -> dict[tuple[Part, int], Timing]:
    """The parts' times from those of ``onnx_functions``."""
    found = {}
    for (part, batch, name), timing in timings.items():
        if name == WHOLE:
            found[part, batch] = timing
        elif name == MORE:
            less, calls = timings[part, batch, LESS], 1 if part[0] == "resample" else IN_A_ROW - 1
            found[part, batch] = Timing(
                max(timing.p20_ms - less.p20_ms, 0.0) / calls,
                max(timing.p50_ms - less.p50_ms, 0.0) / calls,
                max(timing.p80_ms - less.p80_ms, 0.0) / calls,
                timing.rounds,
            )
    return found


def _session(module: nn.Module, inputs: Sequence[Tensor]) -> Callable[[], object]:
    names = [f"input{n}" for n in range(len(inputs))]
    session = OnnxNetwork(onnx_bytes(module, inputs, names), torch.get_num_threads()).session
    return partial(session.run, None, {n: np.ascontiguousarray(x.numpy()) for n, x in zip(names, inputs, strict=True)})
