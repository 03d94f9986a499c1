"""What a run will cost and what it did cost.

``dry_run=true`` times a few steps of everything and writes nothing; a run that ends says the same of what it took.
"""

import io
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from autopose.engine.search import SearchRun
from autopose.engine.train import TrainRun
from autopose.evaluation.evaluation import evaluate
from autopose.report.run_page import duration, memory_text
from autopose.runs.clock import Clock

logger = logging.getLogger("autopose")
# Steps that are left out, because the first ones allocate and compile, and those that are timed.
FIRST, TIMED = 2, 5
KWH = 3.6e6


@dataclass
class Bill:
    """Parts of a run: seconds each, by what they are for.

    Attributes:
        seconds: of the whole run, by part.
        each: how a part was reckoned ("550 steps of 0.21 s").
        checkpoint: bytes of one; kept: how many stay.
        watts: that the card says it draws while it steps, None where it says nothing.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    each: dict[str, str] = field(default_factory=dict)
    checkpoint: int = 0
    kept: int = 0
    watts: float | None = None

    def add(self, part: str, count: int, seconds: float, what: str) -> None:
        """``count`` times ``seconds``."""
        self.seconds[part] = count * seconds
        self.each[part] = f"{count} {what} of {seconds:.3g} s"

    def lines(self) -> list[str]:
        """What is printed."""
        total = sum(self.seconds.values())
        found = [f"about {duration(total)}, on this machine as busy as it is now"]
        found += [f"{part}: {duration(value)} ({self.each[part]})" for part, value in self.seconds.items()]
        found.append(f"peak memory {memory_text(Clock().report())}")
        found.append(f"disk {self.kept * self.checkpoint / 2**20:.1f} MiB of checkpoints ({self.kept} are kept)")
        if self.watts is not None:
            found.append(f"energy of the card about {self.watts * total / KWH:.2f} kWh, at {self.watts:.0f} W")
        return found

    def show(self) -> None:
        """Log the lines."""
        for line in self.lines():
            logger.info("bill       %s", line)


def show_cost(clock: dict, checkpoints: Path) -> None:
    """Log what a run cost since it was started or resumed.

    Args:
        clock: of ``Clock.report()``; checkpoints: the folder of those that it keeps.
    """
    logger.info("cost       %s", duration(clock["seconds"]))
    for part, seconds in clock["phases"].items():
        count = clock["counts"].get(part, 0)
        each = f" ({count} of {seconds / count:.3g} s)" if count > 1 else ""
        if seconds >= 0.01 * clock["seconds"]:
            logger.info("cost       %s: %s%s", part, duration(seconds), each)
    sizes = [path.stat().st_size for path in checkpoints.glob("*.pt")]
    logger.info("cost       peak memory %s", memory_text(clock))
    logger.info("cost       disk %.1f MiB of checkpoints (%d are kept)", sum(sizes) / 2**20, len(sizes))
    if clock["energy"] is not None:
        logger.info("cost       energy of the card %.2f kWh", clock["energy"] / KWH)


def bill_of_search(run: SearchRun) -> Bill:
    """Time steps and rewards of a search that has not begun; its weights move, nothing is saved."""
    settings, search, bill = run.settings, run.bilevel, Bill()
    batches = endless(run.batches())
    # What comes later costs more where α waits for its epoch, so that is what is timed.
    search.position.epoch = min(max(settings.alpha_start_epoch, 0), settings.epochs - 1)
    step = _seconds(lambda: search.cell_update(*next(batches)), run.runtime.device)
    search.position.iteration = 0
    bill.watts = _watts(run.runtime.device)
    bill.add("steps", settings.epochs * settings.iterations, step, "steps of weights and α")
    beta = search.training_beta()
    reward = _seconds(lambda: run.reward.score(beta), run.runtime.device, 1, 2)
    controller = settings.controller
    told = max(settings.epochs - controller.start_epoch, 0) if search.algorithm.scoring == "epochs" else 0
    # Health: the favourite, two compositions of the batches and two losses an epoch.
    health = settings.epochs * (5 if settings.health else 1)
    scored = told * controller.updates * controller.samples + health
    tried = settings.trials.candidates
    candidates = tried or settings.derive_samples + 1
    scored += candidates if search.algorithm.scoring == "epochs" else run.budget()
    bill.add("rewards", scored, reward, "evaluations")
    if tried:
        trials = run.trials()
        trial = _seconds(lambda: trials.losses(run.favourite(), 0), run.runtime.device, 1, 1)
        bill.add("trial trainings", trials.trainings(tried), trial, "trainings")
        if finalists := trials.finalists(tried):
            longer = settings.trials.finalist_steps / settings.trials.steps
            bill.add("finalists' trainings", finalists, trial * longer, "trainings")
    bill.checkpoint, bill.kept = _size(search.state_dict()), settings.keep_checkpoints
    return bill


def bill_of_training(run: TrainRun) -> Bill:
    """Time steps and an evaluation of a training that has not begun."""
    settings, bill = run.settings, Bill()
    batches = endless(run.batches())
    step = _seconds(lambda: run.step(next(batches)), run.runtime.device)
    bill.watts = _watts(run.runtime.device)
    bill.add("steps", settings.epochs * run.iterations, step, "steps")
    started = time.monotonic()
    config = run.config
    evaluate(run.network, run.validation, config.data, config.evaluate, run.runtime, run.constant)
    evaluations = max(1, settings.epochs // settings.evaluate_every if settings.evaluate_every else 1)
    bill.add("evaluation", evaluations, time.monotonic() - started, "evaluations")
    weights = _size(run.network.state_dict())
    copies = 1 if run.averaged is None else 3
    bill.checkpoint, bill.kept = copies * weights + _size(run.optimizer.state_dict()), settings.keep_checkpoints + 1
    return bill


def _seconds(call: Callable[[], object], device: torch.device, first: int = FIRST, timed: int = TIMED) -> float:
    """Mean seconds of a call, data and all, after the first ones."""
    for _ in range(first):
        call()
    _wait(device)
    started = time.monotonic()
    for _ in range(timed):
        call()
    _wait(device)
    return (time.monotonic() - started) / timed


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _watts(device: torch.device) -> float | None:
    """What the card draws now; None where it does not tell."""
    if device.type != "cuda":
        return None
    try:
        return torch.cuda.power_draw(device) / 1000
    except (RuntimeError, ImportError, AttributeError):
        return None


def _size(state: dict) -> int:
    """Bytes of a state as it is saved."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.tell()


def endless(items: Iterator) -> Iterator:
    """The items; the last one again for ever where there are too few to be timed."""
    last = None
    for last in items:
        yield last
    while last is not None:
        yield last
