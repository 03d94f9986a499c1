"""The host's part of an iteration of a search whose pieces are CUDA graphs, without a GPU: ``python -m bench.graphed``.

A stand-in keeps the pieces' buffers and makes no launch for a replay, so what is left is all else that an iteration
calls: copies into the buffers, stem, head, losses, both optimizers, the draws. Calls do not depend on channels or
sizes, so the supernet is as narrow and the images are as small as they can be.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autopose.models import PoseNetwork
from autopose.models.pieces import Piece, Pieces
from autopose.nas import BilevelSearch, BilevelSettings
from autopose.runs.machine import machine
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace

# Seconds of the host for a call, with all of Python's work around it, as ``python -m bench.graphed`` times it (the
# launch's own part is in it as a tiny computation on the CPU), and of the driver for a replay of some 60 launches: an
# estimate.
CALL, REPLAY = 25e-6, 10e-6
ROUNDS = 50
ALLOCATIONS = ("empty", "new_empty")


class Calls(TorchDispatchMode):
    """Counts what is dispatched, views and allocations apart: on a GPU each is a launch, or a few."""

    def __init__(self):
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if function.namespace in ("aten", "autopose") and not function.is_view and not name.startswith(ALLOCATIONS):
            self.count[name] += 1
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Host:
    """Of an iteration: replays of graphs, and calls by operator."""

    replays: int
    calls: Counter[str]

    @property
    def seconds(self) -> float:
        """The estimate of the module's constants."""
        return self.replays * REPLAY + self.calls.total() * CALL


@contextmanager
def _as_on_a_gpu(replays: list[Piece]) -> Iterator[None]:
    """A replay is only remembered; gradients' norms by multi-tensor kernels, NaN among weights not looked for."""
    nothing = {"return_value": None}
    with (
        mock.patch.object(Piece, "forward", lambda piece: replays.append(piece)),
        mock.patch.object(Piece, "backward", lambda piece: replays.append(piece)),
        mock.patch("torch.nn.utils.clip_grad._has_foreach_support", return_value=True),
        mock.patch("autopose.kernels.mixed_edge.check_finite_weights", **nothing),
        mock.patch("autopose.kernels.resample_sum.check_finite_weights", **nothing),
    ):
        yield


def stand_in(space: MacroSpace, beta: MacroArchitecture) -> Callable[[], list[Piece]]:
    """An iteration under β, ω's step and α's, as a function that returns what it replayed."""
    narrow = replace(space, channels=(2,) * space.num_branches, stem_channels=2)
    network = PoseNetwork(SearchSpace.full(narrow), 17)
    network.set_norm("batch")
    search = BilevelSearch(network, BilevelSettings(), 0, autocast=True, pieces=Pieces(capture=False))
    search.training_beta = lambda path=0: beta  # type: ignore[method-assign]
    side = 2 * narrow.scales[-1]
    batch = {
        "image": torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last),
        "target": torch.rand(1, 17, side // 4, side // 4),
        "target_weight": torch.ones(1, 17),
    }
    search.cell_update(batch, batch)  # makes the pieces

    def once() -> list[Piece]:
        replays: list[Piece] = []
        with _as_on_a_gpu(replays):
            search.cell_update(batch, batch)
        return replays

    return once


def host_of(space: MacroSpace, beta: MacroArchitecture) -> Host:
    """Count an iteration's replays and calls."""
    once, calls = stand_in(space, beta), Calls()
    with calls:
        replays = once()
    return Host(len(replays), calls.count)


def main() -> None:
    """Entry point: the paper's supernet, all branches on and half of them."""
    from bench.roofline import half_on

    torch.set_num_threads(1)
    space, info = MacroSpace(), machine()
    print(
        f"{info['cpu']}, Python {info['python']}, torch {info['torch']}; the least of {ROUNDS} rounds' processor time"
    )
    print("\n| beta | replays | calls | ms without the replays | us a call |\n" + "| --- " * 5 + "|")
    for name, beta in (("all on", space.all_on()), ("half on", half_on(space))):
        host, once, spent = host_of(space, beta), stand_in(space, beta), []
        for _ in range(ROUNDS):
            started = time.process_time()
            once()
            spent.append(1e3 * (time.process_time() - started))
        calls = host.calls.total()
        print(f"| {name} | {host.replays} | {calls} | {min(spent):.1f} | {1e3 * min(spent) / calls:.0f} |")


if __name__ == "__main__":
    main()
