"""The numbers of a run in an experiment tracker: Weights & Biases or MLflow, where ``tracker=`` asks for one."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from autopose.errors import UserError

PROJECT = "autopose"


class Tracker:
    """Sends rows of ``metrics.jsonl`` to a tracker; its own settings (server, key) come from its environment."""

    def __init__(self, kind: str, name: str, folder: Path, config: Mapping):
        """Args:
            kind: "wandb" or "mlflow".
            name: of the run.
            folder: of the run, where the tracker may keep its files.
            config: the run's settings.

        Raises:
            UserError: the tracker's package is missing, or it refuses.
        """
        self.kind, self.module = kind, package(kind)
        try:
            if kind == "wandb":
                self._run: Any = self.module.init(project=PROJECT, name=name, dir=str(folder), config=dict(config))
            else:
                self.module.set_experiment(PROJECT)
                self._run = self.module.start_run(run_name=name)
                self.module.log_params({key: str(value)[:250] for key, value in flat(config).items()})
        except Exception as error:  # noqa: BLE001 - trackers raise what they like
            raise UserError(f"tracker={kind} cannot be used: {str(error).splitlines()[0][:160]}") from None

    def log(self, row: Mapping, step: int) -> None:
        """The numbers of an epoch."""
        numbers = {key: value for key, value in flat(row).items() if isinstance(value, int | float)}
        if self.kind == "wandb":
            self._run.log(numbers, step=step)
        else:
            self.module.log_metrics(numbers, step=step)

    def close(self) -> None:
        """The run has ended."""
        if self.kind == "wandb":
            self._run.finish()
        else:
            self.module.end_run()


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
