"""Commands as functions: ``autopose.search("experiment=quick")`` does what ``python -m autopose.search`` does."""

import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from autopose.command import given
from autopose.config import Config, check_used, composed, differences
from autopose.errors import UserError
from autopose.evaluation.scoring import Score
from autopose.runs.runtime import finish, start


@dataclass(frozen=True)
class Outcome:
    """What ``autopose.train`` and ``autopose.evaluate`` return.

    Attributes:
        folder: of the run.
        metrics: full precision; AP and AR as fractions, PCK and PCKh in percent, errors in px.
        constant: the same metrics of the best constant pose.
        scores: the tables with their protocols, ``print(outcome.scores[0].table("mine"))``.
        checkpoint: the last one, None of an evaluation.
    """

    folder: Path
    metrics: dict[str, float]
    constant: dict[str, float]
    scores: tuple[Score, ...]
    checkpoint: Path | None = None

    @classmethod
    def of(cls, scores: list[Score], folder: Path, checkpoint: Path | None = None) -> "Outcome":
        """From the scores of a run."""
        metrics = {name: value for score in scores for name, value in score.metrics.items()}
        constant = {name: value for score in scores for name, value in score.constant.items()}
        return cls(folder, metrics, constant, tuple(scores), checkpoint)


class Command(ModuleType):
    """A command's module, which can be called.

    ``command(*overrides, folder=None)`` takes the command line's words, ``"experiment=quick"``, ``"search.epochs=3"``;
    ``command(config, folder=None)`` a ``Config``. The run's folder is the command line's default unless it is given.
    Returns what the command's ``run`` returns; raises UserError where the command line would print one sentence.
    """

    def __call__(self, *words: str | Config, folder: str | Path | None = None) -> Any:
        """Run the command; see the class."""
        task = self.__name__.rpartition(".")[2]
        config, overrides = _configuration(task, words)
        place = Path(folder or f"outputs/{task}/{config.name}/{datetime.now():%Y-%m-%d_%H-%M-%S}")
        token, runtime = given.set(overrides), None
        try:
            runtime = start(config.device, place, config.threads, config.deterministic)
            return self.run(config, runtime)
        finally:
            finish(runtime)
            given.reset(token)


def _configuration(task: str, words: tuple) -> tuple[Config, list[str]]:
    if len(words) == 1 and isinstance(words[0], Config):
        return words[0], differences(words[0], composed(task))
    if not all(isinstance(word, str) for word in words):
        raise UserError(f'autopose.{task} takes words like "experiment=quick", or one Config, not {words!r:.80}')
    config = composed(task, *words)
    check_used(task, list(words), config)
    return config, list(words)


def callable_module(name: str) -> None:
    """Let the module called ``name`` be called."""
    sys.modules[name].__class__ = Command
