"""One worker of a pool: takes trainings until none is left."""

import json
import logging
import shutil
import time
from dataclasses import asdict, replace
from pathlib import Path

from autopose.config import Config
from autopose.engine.train import TrainRun
from autopose.errors import Diverged, UserError
from autopose.evaluation.scoring import Score
from autopose.files import save_json
from autopose.runs.lock import RunLock
from autopose.runs.machine import machine
from autopose.runs.precision import chosen_precision
from autopose.runs.runtime import Runtime, chosen_device

from .ledger import PAUSE, Ledger, check_alike
from .plan import Plan
from .table import Entry, Table

logger = logging.getLogger("autopose")
# What two trainings of a pool may differ in without being unlike.
NOT_OF_RECIPE = {
    "data": ("root", "workers", "cache", "check_images"),
    "train": ("checkpoint_every", "keep_checkpoints", "evaluate_every", "activation_checkpointing"),
    "evaluate": ("batch_size",),
}


def recipe_of(config: Config) -> dict:
    """Every setting that a result of the pool depends on, by its key."""
    found: dict = {
        "seed": config.seed, "pool.band": config.pool.band, "pool.band_share": config.pool.band_share,
        "precision": chosen_precision(config.precision, chosen_device(config.device)).name,
    }  # fmt: skip
    for group in ("space", "data", "train", "evaluate"):
        for key, value in asdict(getattr(config, group)).items():
            if key not in NOT_OF_RECIPE.get(group, ()):
                found[f"{group}.{key}"] = value
    return found


# What keys that are younger than a ledger were when it was begun.
BEFORE = {**recipe_of(Config()), "precision": "fp32"}


class Worker:
    """Trains members of a plan in folders of their own."""

    def __init__(self, config: Config, runtime: Runtime, plan: Plan, ledger: Ledger, folder: Path):
        self.config, self.runtime, self.plan, self.ledger, self.folder = config, runtime, plan, ledger, folder
        self.known = Table.load(config.pool.known) if config.pool.known else None
        if self.known is not None:
            what = f"the table {config.pool.known} was made"
            check_alike(self.known.recipe, ledger.recipe, ledger.defaults, what, "another pool.known")
        self._said = ""

    def run(self) -> None:
        """Work until every training of the plan is done or has failed."""
        self._plan()
        self._say()
        while True:
            if self.ledger.work(self._train, (UserError, Diverged)):
                self._say()
            elif self.ledger.unfinished():
                time.sleep(PAUSE)  # another worker may die and leave its training
            elif self.plan.propose(self._scores()):
                self._plan()
            else:
                self._say()
                return

    def _plan(self) -> None:
        """Queue what is neither done here nor known from elsewhere."""
        trainings = list(self.plan.trainings())
        if self.known is not None:
            self.ledger.planned = trainings
            done = self.ledger.results()
            for name, seed in trainings:
                member = self.plan.members[name]
                entry = self.known.query(member.architecture, member.width)
                if entry is not None and seed in entry.scores and (name, seed) not in done:
                    self._take(entry, name, seed)
        self.ledger.plan(trainings)

    def _take(self, entry: Entry, name: str, seed: int) -> None:
        table = self.known
        result = {
            "metric": table.metric, "scores": dict(entry.scores[seed]), "constant": dict(table.constant),
            "losses": list(entry.losses[seed]), "parameters": entry.parameters, "machine": dict(table.made_with),
        }  # fmt: skip
        self.ledger.take((name, seed), entry.scores[seed][table.metric], result)

    def _scores(self) -> dict[str, float]:
        """Of every member's first seed, by name."""
        results = self.ledger.results()
        return {name: found["scores"][found["metric"]] for (name, seed), found in results.items() if seed == 0}

    def _train(self, name: str, seed: int) -> tuple[float, dict]:
        """One training; continues what a killed worker left, and takes over what is finished already."""
        member = self.plan.members.get(name)
        if member is None:
            raise UserError(f"the plan has no member {name}: the ledger belongs to another pool")
        folder = self.folder / "trainings" / f"{name}-seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        done = folder / "result.json"
        lock = RunLock(folder)
        try:
            if not done.exists():
                save_json(done, self._result(member, seed, folder))
                if not self.config.pool.keep:
                    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            result = json.loads(done.read_text(encoding="utf-8"))
        finally:
            lock.release()
        return result["scores"][result["metric"]], result

    def _result(self, member, seed: int, folder: Path) -> dict:
        started = time.monotonic()
        training = replace(self.config.train, width=member.width, gmacs=0.0, evaluate_every=0)
        config = replace(self.config, seed=seed, resume="auto", train=training)
        level = logger.level
        logger.setLevel(logging.WARNING)
        try:
            run = TrainRun(config, replace(self.runtime, folder=folder), member.architecture)
            scores = run.run(figures=False)
        finally:
            logger.setLevel(level)
        metrics = {name: value for score in scores for name, value in score.metrics.items()}
        constant = {name: value for score in scores for name, value in score.constant.items()}
        return {
            "metric": _metric(scores), "scores": metrics, "constant": constant,
            "losses": [row["loss"] for row in run.log.rows],
            "parameters": sum(p.numel() for p in run.network.parameters()),
            "seconds": time.monotonic() - started, "machine": machine(),
        }  # fmt: skip

    def _say(self) -> None:
        done, failed, planned = len(self.ledger.results()), len(self.ledger.failed()), len(self.ledger.planned)
        workers = max(self.ledger.workers(), self.config.pool.workers)
        left = (planned - done - failed) * self.ledger.seconds() / workers
        time_left = f", about {left / 3600:.1f} h left" if done and left else ""
        line = f"{done} of {planned} trainings done, {failed} failed{time_left}"
        if line != self._said:
            logger.info("pool       %s", line)
        self._said = line

    def table(self) -> Table:
        """The table of what is done so far."""
        results, entries = self.ledger.results(), []
        for name, member in self.plan.members.items():
            found = {seed: results[name, seed] for seed in member.seeds if (name, seed) in results}
            if found:
                first = next(iter(found.values()))
                entries.append(Entry(
                    member.architecture, name, member.band, member.width, self.plan.gmacs(member), first["parameters"],
                    {seed: result["scores"] for seed, result in found.items()},
                    {seed: result["losses"] for seed, result in found.items()},
                ))  # fmt: skip
        if not entries:
            raise UserError("no training of the pool is done: there is no table to write")
        any_result = next(iter(results.values()))
        return Table(
            self.plan.macro, any_result["metric"], recipe_of(self.config), tuple(entries), any_result["constant"],
            any_result["machine"],
        )  # fmt: skip


def _metric(scores: list[Score]) -> str:
    """PCK or PCKh's mean where it was scored, else AP."""
    return "Mean" if any("Mean" in score.metrics for score in scores) else "AP"
