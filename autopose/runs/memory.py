"""Peak memory: predicted before the first step, and the switches that lower it named when it runs out."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch

from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.models.pieces import Pieces
from autopose.nas import ArchitectureParameters, GumbelSettings
from autopose.nas.randomness import generator
from autopose.runs.clock import peak_memory
from autopose.runs.precision import Precision
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")
GIB = 2**30
Passes = Callable[[torch.Tensor], object]  # forward and backward of images (N, 3, H, W)
Stage = tuple[int, Callable[[int], object]]  # of how many, and what runs a number of them
SWITCHES = {
    "search": "search.graphs=false, search.accumulate=2, search.activation_checkpointing=true, precision=bf16, "
    "search.gumbel.relaxation=one_op or a smaller search.batch_size",
    "train": "train.accumulate=2, train.activation_checkpointing=true, precision=bf16 or a smaller train.batch_size",
}


def peak_during(call: Callable[[], object], device: torch.device) -> int | None:
    """Most bytes held while ``call`` runs: of the device's allocator, on a CPU of this process; None where not told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        call()
        return torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew: proc(5)
    except OSError:
        return None
    call()
    return peak_memory()


def held(device: torch.device) -> int:
    """Bytes that the device's allocator has given, on a CPU the resident set of this process (Linux)."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def foretold(run: Callable[[int], object], count: int, device: torch.device) -> tuple[int, int] | None:
    """Peak bytes while ``run(count)`` would run, and bytes held after it; None where they cannot be told.

    By the lines through those of a quarter and of half of ``count``.
    """
    quarter = max(count // 4, 1)
    half = min(max(count // 2, quarter + 1), count)
    run(quarter)  # what the libraries allocate once is no part of the line
    found = []
    for part in (quarter, half):
        peak = peak_during(partial(run, part), device)
        if peak is None:
            return None
        found.append((peak, held(device)))
    far = (count - half) / max(half - quarter, 1)
    peak, after = (int(high + max(high - low, 0) * far) for low, high in zip(*found, strict=True))
    return peak, after


def plain_passes(network: PoseNetwork, precision: Precision, forward: Callable[[torch.Tensor], torch.Tensor]) -> Passes:
    """The passes of a step whose heatmaps ``forward`` gives."""

    def run(images: torch.Tensor) -> None:
        weights = [p for p in network.parameters() if p.requires_grad]
        torch.autograd.grad(_loss(precision, forward, images), weights, allow_unused=True)

    return run


def search_passes(network: PoseNetwork, gumbel: GumbelSettings, precision: Precision, graphs: bool) -> Passes:
    """Those of a search's step of ω with every branch active; of ω and then of α where they run as graphs.

    Graphs keep their static buffers, what their backward passes read, and the memory of intermediate values; both kinds
    of step take turns in it. Here, uncaptured, each kind keeps what its backward passes read: more, by an estimate.
    """
    alphas = ArchitectureParameters(network.space).to(next(network.parameters()).device)
    beta = network.space.macro.all_on()

    def run(images: torch.Tensor) -> None:
        pieces = Pieces(capture=False, keep=True)
        for weights in (True, False):
            network.requires_grad_(weights)
            with torch.set_grad_enabled(not weights):
                mixtures = alphas.sample(gumbel, 0.0, generator(0))
            _loss(precision, partial(network, beta=beta, mixtures=mixtures, pieces=pieces), images).backward()
        network.requires_grad_(True)
        for parameter in (*network.parameters(), *alphas.parameters()):
            parameter.grad = None

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mixtures = alphas.sample(gumbel, 0.0, generator(0))
        return network(images, beta, mixtures)

    return run if graphs else plain_passes(network, precision, forward)


def _loss(precision: Precision, forward: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    with precision.autocast(images.device):
        return forward(images).float().square().mean()


def predict_peak(
    network: PoseNetwork,
    image_size: Sequence[int],
    batch_size: int,
    passes: Passes,
    later: Sequence[Stage] = (),
) -> int | None:
    """Peak bytes of a training with Adam: of the device, on a CPU of this whole process; None where it cannot be told.

    A step is run with a quarter and with half of the batch, on black images, and a line drawn through its peaks; Adam's
    moments are added. No weight or statistic moves where ``network`` normalises by the batch.

    Args:
        image_size: width and height in px.
        passes: of a step.
        later: what comes after some steps, one after the other; gradients and moments stay meanwhile.
    """
    device, weights = next(network.parameters()).device, [p for p in network.parameters() if p.requires_grad]
    size = sum(p.numel() * p.element_size() for p in weights)

    def step(images: int) -> None:
        passes(torch.zeros(images, 3, image_size[1], image_size[0], device=device))

    mode = network.state.mode
    network.set_norm("batch")
    stepping = foretold(step, batch_size, device)
    network.set_norm(mode)
    if stepping is None:
        return None
    peak, after = stepping
    for count, run in later:
        before = held(device)
        found = foretold(run, count, device)
        if found is not None:
            # Gradients stay until the next step, and a heap keeps much of what was given back to it.
            peak = max(peak, after + size + found[0] - before)
            after += max(found[1] - before, 0)
    return peak + 2 * size


def report_memory(
    network: PoseNetwork, settings, image_size: Sequence[int], runtime: Runtime, graphs: bool = False
) -> None:
    """Log the prediction for a search with every branch active, beside what the device has."""
    passes = search_passes(network, settings.gumbel, runtime.precision, graphs)
    when = " with every branch active" + ", as graphs" * graphs
    log_prediction("search", network, settings, image_size, runtime, passes, when)


def log_prediction(
    kind: str,
    network: PoseNetwork,
    settings,
    image_size: Sequence[int],
    runtime: Runtime,
    passes: Passes,
    when: str = "",
    later: Sequence[Stage] = (),
) -> None:
    """Log `predict_peak` for the batch of one process of a ``kind``, "search" or "train"; the network's mode stays.

    Raises:
        UserError: a step with half of the batch does not fit.
    """
    batch = max(settings.batch_size // runtime.world_size // settings.accumulate, 1)
    with explain_out_of_memory(kind):
        peak = predict_peak(network, image_size, batch, passes, later)
    if peak is not None:
        where = "on the device" if runtime.device.type == "cuda" else "of this process"
        logger.info("memory     about %.2f GiB %s at peak%s%s", peak / GIB, where, when, _room(runtime))


def _room(runtime: Runtime) -> str:
    if runtime.device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(runtime.device)
    return f", {free / GIB:.1f} of {total / GIB:.1f} GiB are free"


@contextmanager
def explain_out_of_memory(kind: str) -> Iterator[None]:
    """Turn running out of memory into one sentence that names the switches that help."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise UserError(f"out of memory: {str(error).splitlines()[0][:120]}; use {SWITCHES[kind]}") from None
    except RuntimeError as error:
        if "not enough memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        raise UserError(f"out of memory ({str(error).splitlines()[0][:120]}); use {SWITCHES[kind]}") from None
