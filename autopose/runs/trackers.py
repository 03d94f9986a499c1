"""The numbers of a run in an experiment tracker: Weights & Biases or MLflow, where ``tracker=`` asks for one."""

import importlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from autopose.errors import UserError
from autopose.files import save_json

logger = logging.getLogger("autopose")
PROJECT = "autopose"
FILE = "tracker.json"
# The module and name of what each package raises.
FAILURES = {"wandb": ("wandb.errors", "Error"), "mlflow": ("mlflow.exceptions", "MlflowException")}


class Tracker:
    """Sends rows of ``metrics.jsonl`` to a tracker; its own settings (server, key) come from its environment.

    ``tracker.json`` of the run's folder holds the tracker's name of the run: a resumed one goes on with the same. A
    tracker that fails after the start is said once and left: it stops no run.
    """

    def __init__(self, kind: str, name: str, folder: Path, config: Mapping):
        """
        Args:
            kind: "wandb" or "mlflow".
            name: of the run.
            folder: of the run, where the tracker may keep its files.
            config: the run's settings.

        Raises:
            UserError: the tracker's package is missing, or it refuses.
        """
        self.kind, self.module, self.failed = kind, package(kind), False
        place, error = FAILURES[kind]
        self._failures = (OSError, getattr(importlib.import_module(place), error))
        path = folder / FILE
        known = json.loads(path.read_text(encoding="utf-8")).get(kind) if path.is_file() else None
        try:
            identity = self._start(name, folder, config, known)
        except self._failures as refusal:
            raise UserError(f"tracker={kind} cannot be used: {_reason(refusal)}") from None
        save_json(path, {kind: identity})

    def _start(self, name: str, folder: Path, config: Mapping, known: str | None) -> str:
        """Begin the run, or go on with the one that the tracker knows; returns the tracker's name of it."""
        if self.kind == "wandb":
            self._run: Any = self.module.init(
                project=PROJECT, name=name, dir=str(folder), config=dict(config), id=known, resume="allow"
            )
            return str(self._run.id)
        if known is None:
            self.module.set_experiment(PROJECT)
        self._run = self.module.start_run(run_id=known, run_name=None if known else name)
        if known is None:
            self.module.log_params({key: str(value)[:250] for key, value in flat(config).items()})
        return str(self._run.info.run_id)

    def log(self, row: Mapping, step: int) -> None:
        """The numbers of an epoch."""
        numbers = {key: value for key, value in flat(row).items() if isinstance(value, int | float)}
        send = self._run.log if self.kind == "wandb" else self.module.log_metrics
        self._tell(lambda: send(numbers, step=step))

    def close(self) -> None:
        """The run has ended."""
        self._tell(self._run.finish if self.kind == "wandb" else self.module.end_run)

    def _tell(self, call: Callable[[], object]) -> None:
        if self.failed:
            return
        try:
            call()
        except self._failures as error:
            self.failed = True
            logger.warning("caution    %s takes no more numbers: %s; the run goes on", self.kind, _reason(error))


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def flat(content: Mapping, prefix: str = "") -> dict[str, object]:
    """Nested keys joined by slashes."""
    found: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[f"{prefix}{key}"] = value
    return found


def package(kind: str) -> ModuleType:
    """The tracker's package; UserError with the command that installs it where it is missing."""
    try:
        return importlib.import_module(kind)
    except ImportError:
        raise UserError(f"tracker={kind} needs the package {kind}: pip install {kind}") from None
