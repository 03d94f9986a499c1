"""Commands as functions: ``autopose.search("experiment=quick")`` does what ``python -m autopose.search`` does.

Each takes the words of the command line, or one ``Config``, and ``folder``: where the run writes, the command line's
default where None. What the command line says in one sentence is raised: ``UserError`` (exit code 2), ``Diverged`` (3),
``Interrupted`` (128 + n). A ``Config`` has every section, and a command reads those that it uses; of one that
``autopose.compose`` made, its words count as given, of any other the keys that differ from the command's own.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from importlib import import_module
from itertools import chain, count
from pathlib import Path
from types import ModuleType
from typing import Any

from autopose.command import performed
from autopose.config import Config, composed, differences
from autopose.errors import UserError
from autopose.evaluation.scoring import Score
from autopose.runs.earlier import EarlierRun
from autopose.space import Architecture

Place = str | os.PathLike | None
compose = composed


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


def search(*words: str | Config, folder: Place = None) -> Architecture:
    """Search an architecture (Algorithm 1) and derive it; ``folder`` holds it as ``architecture.json``."""
    return _call("search", words, folder)


def derive(*words: str | Config, folder: Place = None) -> Architecture:
    """Derive again from the checkpoint of a search."""
    return _call("derive", words, folder)


def train(*words: str | Config, architecture: Architecture | None = None, folder: Place = None) -> Outcome:
    """Train a network and score it; ``architecture`` is one that a search returned, in place of the key's."""
    if architecture is None:
        return _call("train", words, folder)
    return _call("train", words, folder, architecture=architecture)


def evaluate(*words: str | Config, folder: Place = None) -> Outcome:
    """Score a checkpoint, or a result file."""
    return _call("evaluate", words, folder)


def predict(*words: str | Config, folder: Place = None) -> list[dict]:
    """Poses on pictures and videos, as COCO results; ``autopose.load(path).predict`` gives arrays."""
    return _call("predict", words, folder)


def export(*words: str | Config, folder: Place = None) -> Path:
    """Write a file that runs without this software; returns its path."""
    return _call("export", words, folder)


def latency(*words: str | Config, folder: Place = None) -> Path:
    """Measure how long a network takes here; returns the path of ``latency.json``."""
    return _call("latency", words, folder)


def flops(*words: str | Config, folder: Place = None) -> None:
    """Print multiply-adds and parameters."""
    return _call("flops", words, folder)


def correlate(*words: str | Config, folder: Place = None) -> dict:
    """Kendall τ between a supernet's scores and networks trained alone: the content of ``correlation.json``."""
    return _call("correlate", words, folder)


def pareto(*words: str | Config, folder: Place = None) -> list[dict]:
    """The front of score and cost of a search: rows of ``pareto.csv``, whose ``architecture`` is a file's path."""
    return _call("pareto", words, folder)


class Command(ModuleType):
    """A command's module, which can be called: what is called is the function above of its name."""

    def __call__(self, *words: str | Config, **options: Any) -> Any:
        """See ``autopose.functions``."""
        return globals()[self.__name__.rpartition(".")[2]](*words, **options)


def _call(task: str, words: tuple, folder: Place, **options: Any) -> Any:
    config, overrides = _configuration(task, words)
    if options and config.architecture:
        raise UserError(f"architecture={config.architecture} and an Architecture were given: leave one of them out")
    run = import_module(f"autopose.{task}").run
    folder = folder or _free_folder(task, config.name)
    earlier = EarlierRun(folder)
    try:
        return performed(partial(run, **options), config, folder, overrides)
    except UserError:
        earlier.put_back()
        raise


def _configuration(task: str, words: tuple) -> tuple[Config, Sequence[str]]:
    if len(words) == 1 and isinstance(words[0], Config):
        config = replace(words[0], task=task)
        if words[0].task == task and words[0].words is not None:
            return config, words[0].words
        return config, differences(config, composed(task))
    if not all(isinstance(word, str) for word in words):
        raise UserError(f'autopose.{task} takes words like "experiment=quick", or one Config, not {words!r:.80}')
    return composed(task, *words), words


def _free_folder(task: str, name: str) -> Path:
    """The command line's default; a second run within a second gets another one."""
    first = Path(f"outputs/{task}/{name}/{datetime.now():%Y-%m-%d_%H-%M-%S}")
    others = (first.with_name(f"{first.name}_{number}") for number in count(2))
    return next(path for path in chain([first], others) if not path.exists())


def callable_module(name: str) -> None:
    """Let the module called ``name`` be called."""
    sys.modules[name].__class__ = Command
