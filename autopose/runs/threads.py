"""How many threads of the CPU a search or training computes with: ``threads=auto`` measures it once, at the start."""

import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch

from autopose.models import PoseNetwork
from autopose.runs.memory import Passes
from autopose.runs.runtime import Runtime, agreed_upon
from autopose.runs.timing import Interleaved

logger = logging.getLogger("autopose")
ROUNDS = 3
# Several threads must take at most this share of one's time: they leave no core to the data, or to another run.
WORTH = 0.9


def choose_threads(
    asked: int | str, network: PoseNetwork, image_size: Sequence[int], batch_size: int, passes: Passes, runtime: Runtime
) -> None:
    """With ``asked`` "auto", time a step with one thread and with as many as PyTorch takes, and keep the better number.

    A step of a quarter of the batch, on black images, ``ROUNDS`` of each in turn; no weight or statistic moves. Several
    processes measure side by side, and all do what the first one found.

    Args:
        image_size: width and height in px.
        batch_size: images of a step of this process.
        passes: of a step.
    """
    most = torch.get_num_threads()
    if asked != "auto":
        return
    if runtime.device.type != "cpu" or most == 1:
        reason = "PyTorch takes no more" if most == 1 else f"device {runtime.device.type} computes"
        logger.info("threads    %d (auto: %s)", most, reason)
        return
    images = torch.zeros(max(batch_size // 4, 1), 3, image_size[1], image_size[0])
    mode = network.state.mode
    network.set_norm("batch")
    one, several = seconds_with((1, most), partial(passes, images))
    network.set_norm(mode)
    chosen = int(agreed_upon(str(most if several <= WORTH * one else 1)))
    torch.set_num_threads(chosen)
    logger.info(
        "threads    %d (auto: a step of %d image(s) takes %.3g s with 1 and %.3g s with %d)",
        chosen, len(images), one, several, most,
    )  # fmt: skip


def seconds_with(threads: Sequence[int], call: Callable[[], object]) -> list[float]:
    """Median seconds of ``call`` with each number of threads, timed in turn; the last number stays set."""

    def run(count: int) -> None:
        torch.set_num_threads(count)
        call()

    timed = Interleaved({count: partial(run, count) for count in threads}, gpu=False)
    timed.warm_up(1)
    for _ in range(ROUNDS):
        timed.round()
    return [timed.timings()[count].p50_ms / 1e3 for count in threads]
