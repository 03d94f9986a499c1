"""A whole bilevel iteration, by provider: ``python -m bench.iteration`` appends to bench/results/iteration_DEVICE.csv.

An iteration is a step of ω and one of α of the supernet (``BilevelSearch.cell_update``: data on the device, both
optimizers included), all branches on, half of them on, and a random β a step. ``passes`` is the forward and backward
pass of both steps alone, which a CUDA graph or a compiler can take whole. Beside every measured time stands what
``bench.roofline`` predicts for the cells of mixed edges on the GPU named by ``--model``.

Every provider is a process of its own with a time limit, so that a fault or an endless compilation in one leaves the
others alone, and rows are written as they come. ``--space small`` rehearses on a CPU. Needs no more than torch, numpy
and, for the fused kernels on a GPU, triton.
"""

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from autopose.kernels import KernelChoice
from autopose.models import PoseNetwork, joints_mse_loss
from autopose.models.pieces import Pieces
from autopose.nas import BilevelSearch, BilevelSettings
from autopose.nas.algorithms import uniform_beta
from autopose.nas.randomness import generator
from autopose.runs.machine import machine
from autopose.runs.timing import Interleaved, Timing
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace
from bench.baseline import cells
from bench.providers import graphed, raise_recompile_limit
from bench.roofline import GPUS, half_on, iteration

RESULTS = Path(__file__).parent / "results"
NUM_JOINTS = 17
COLUMNS = (
    "space", "batch", "provider", "beta", "what", "status", "p20_ms", "p50_ms", "p80_ms", "rounds", "predicted_ms",
    "gpu", "cpu", "threads", "torch", "triton",
)  # fmt: skip
SPACES = {
    "paper": (MacroSpace(), 64, (192, 256)),
    "small": (MacroSpace((8, 16, 32), 3, 1, 2, 1, 16), 4, (48, 64)),
}


@dataclass(frozen=True)
class Provider:
    """Who computes an iteration.

    Attributes:
        kernels: of the mixed edges and of the resampled sums; "baseline" is `bench.baseline`, compiled on a GPU.
        launch: "eager", "graph" (passes in a CUDA graph) or "pieces" (`models.pieces`: a graph a part of a branch;
            uncaptured on a CPU). On a CPU the baseline is neither compiled nor captured.
    """

    kernels: str
    launch: str = "eager"
    half: bool = True


PROVIDERS = {
    "fused": Provider("fused"),
    "reference": Provider("reference"),
    "fused graph": Provider("fused", "graph"),
    "fused pieces": Provider("fused", "pieces"),
    "rewrite graph": Provider("aten", "graph"),
    "strong baseline": Provider("baseline", "graph"),
    "fused fp32": Provider("fused", half=False),
    "reference fp32": Provider("reference", half=False),
}


class Problem:
    """The supernet of a space, its search, and batches that stay on the device."""

    def __init__(self, provider: Provider, space: MacroSpace, batch: int, size: tuple[int, int], device: torch.device):
        """
        Args:
            size: width and height of the pictures in px.
        """
        torch.manual_seed(0)
        choice = KernelChoice.all("reference" if provider.kernels == "baseline" else provider.kernels)
        network = PoseNetwork(SearchSpace.full(space), NUM_JOINTS, choice=choice).place(device).train()
        network.set_norm("batch")
        pieces = Pieces(device.type == "cuda") if provider.launch == "pieces" else None
        self.search = BilevelSearch(network, BilevelSettings(epochs=100), 0, autocast=provider.half, pieces=pieces)
        self.device, self.network = device, network
        width, height = size
        draws = torch.Generator().manual_seed(0)
        # Two batches in turn: one alone would stay in a cache.
        self.batches = [
            {
                "image": torch.randn(batch, 3, height, width, generator=draws)
                .to(device)
                .contiguous(memory_format=torch.channels_last),
                "target": torch.rand(batch, NUM_JOINTS, height // 4, width // 4, generator=draws).to(device),
                "target_weight": torch.ones(batch, NUM_JOINTS, device=device),
            }
            for _ in range(2)
        ]

    def whole(self, beta: MacroArchitecture | None) -> Callable[[], object]:
        """``cell_update`` under a β, or a random one each time."""
        search, space = self.search, self.network.space.macro

        def once() -> object:
            search.training_beta = lambda path=0: beta or uniform_beta(space, generator(0, "bench", search.step))
            return search.cell_update(*self.batches)

        return once

    def passes(self, beta: MacroArchitecture) -> Callable[[], object]:
        """Forward and backward of ω's step, then of α's; gradients stay, nothing is read by the host."""
        weights = self.network.active_parameters(beta)
        alphas = [*self.search.alphas.parameters()]

        def loss(batch: dict, mixtures: list) -> torch.Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.search.autocast):
                heatmaps = self.network(batch["image"], beta, mixtures)
            return joints_mse_loss(heatmaps, batch["target"], batch["target_weight"])

        def once() -> object:
            with torch.no_grad():
                fixed = self.search.alphas.mean()
            found = torch.autograd.grad(loss(self.batches[0], fixed), weights, allow_unused=True)
            self.network.requires_grad_(False)  # as in a step of α
            value = loss(self.batches[1], self.search.alphas.mean())
            self.network.requires_grad_(True)
            return found, torch.autograd.grad(value, alphas, allow_unused=True)

        return once


def functions(provider: Provider, problem: Problem) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """(β's name, what, function) of all that a provider is timed on."""
    space = problem.network.space.macro
    betas = {"all on": space.all_on(), "half on": half_on(space)}
    for name, beta in betas.items():
        if provider.launch != "graph":
            yield name, "iteration", problem.whole(beta)
        if provider.launch == "eager":
            yield name, "passes", problem.passes(beta)
        elif provider.launch == "graph":
            passes = problem.passes(beta)
            yield name, "passes", graphed(passes) if problem.device.type == "cuda" else passes
    if provider.launch != "graph":
        yield "random", "iteration", problem.whole(None)


def timed(function: Callable[[], object], gpu: bool, seconds: float) -> Timing:
    """At least three calls, and as many as ``seconds`` hold."""
    timer = Interleaved({"it": function}, gpu)
    timer.warm_up(2)
    end = time.monotonic() + seconds
    while timer.rounds < 3 or time.monotonic() < end:
        timer.round()
    return timer.timings()["it"]


def measure(name: str, asked: argparse.Namespace, path: Path) -> None:
    """All rows of a provider, each written when it is known."""
    provider, gpu = PROVIDERS[name], torch.cuda.is_available()
    space, batch, size = SPACES[asked.space]
    batch = asked.batch or batch
    if provider.launch == "graph" and not gpu and provider.kernels != "baseline":
        _write(path, {"provider": name, "space": asked.space, "batch": batch, "status": "needs a GPU"})
        return
    about = machine() | {"threads": torch.get_num_threads(), "triton": __import__("triton").__version__ if gpu else ""}
    problem = Problem(provider, space, batch, size, torch.device("cuda" if gpu else "cpu"))
    with _installed(provider, gpu):
        for beta, what, function in functions(provider, problem):
            found = timed(function, gpu, asked.seconds)
            row = {"space": asked.space, "batch": batch, "provider": name, "beta": beta, "what": what, "status": "ok",
                   "p20_ms": round(found.p20_ms, 3), "p50_ms": round(found.p50_ms, 3),
                   "p80_ms": round(found.p80_ms, 3), "rounds": found.rounds}  # fmt: skip
            if asked.model and beta != "random" and provider.kernels == "fused" and provider.half:
                row["predicted_ms"] = round(predicted(space, beta, batch, size, asked.model), 2)
            _write(path, row | {column: about[column] for column in ("gpu", "cpu", "threads", "torch", "triton")})
            print(f"{name:16} {beta:8} {what:9} {found.p50_ms:9.2f} ms   {found.rounds} rounds", flush=True)


def _installed(provider: Provider, gpu: bool) -> AbstractContextManager:
    """In which the cells are the provider's."""
    if provider.kernels != "baseline":
        return nullcontext()
    if gpu:
        raise_recompile_limit()
    return cells(compiled=gpu)


def predicted(space: MacroSpace, beta: str, batch: int, size: tuple[int, int], model: str) -> float:
    """Milliseconds of the cells of mixed edges by ``bench.roofline``."""
    chosen = space.all_on() if beta == "all on" else half_on(space)
    return iteration(space, chosen, batch, size, GPUS[model])["all"].seconds * 1e3


def _write(path: Path, row: dict) -> None:
    fresh = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)


def _each_in_its_process(asked: argparse.Namespace, arguments: list[str], path: Path) -> int:
    worst = 0
    for name in asked.providers:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "bench.iteration", *arguments, "--only", name], timeout=asked.limit, check=False
            )
            status = "" if done.returncode == 0 else f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            status = f"not done after {asked.limit:g} s"
        if status:
            worst = 1
            print(f"{name}: {status}", file=sys.stderr, flush=True)
            _write(path, {"provider": name, "space": asked.space, "status": status})
    return worst


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="paper")
    parser.add_argument("--batch", type=int, default=0, help="people of a step (0: the space's)")
    parser.add_argument("--providers", nargs="+", choices=PROVIDERS, default=[*PROVIDERS])
    parser.add_argument("--model", choices=GPUS, help="whose predicted times stand beside the measured ones")
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing, each row")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds that a provider may take in all")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", choices=PROVIDERS, help=argparse.SUPPRESS)
    arguments = sys.argv[1:] if arguments is None else arguments
    asked = parser.parse_args(arguments)
    path = asked.output or RESULTS / f"iteration_{'gpu' if torch.cuda.is_available() else 'cpu'}.csv"
    if asked.only:
        measure(asked.only, asked, path)
        return 0
    return _each_in_its_process(asked, arguments, path)


if __name__ == "__main__":
    sys.exit(main())
