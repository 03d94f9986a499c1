"""Who trained what, in an Optuna storage: a trial is one training of one member with one seed."""

import json
import logging
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError

from autopose.errors import UserError

logger = logging.getLogger("autopose")
VERSION = 1
NAME = "pool"
# Heartbeats that a worker may miss before its training is given to another.
MISSED = 3
# Seconds for which a database may be away, and between two questions to it.
PATIENCE, PAUSE = 900.0, 5.0
# A key that ledgers had before ``precision`` said it.
RETIRED = {"train.autocast"}
# Tries to make the tables of a new database.
ATTEMPTS = 4
Training = tuple[str, int]


class Ledger:
    """The trainings of one pool and their results; any number of workers on any machines."""

    def __init__(self, url: str, recipe: dict, heartbeat: int, defaults: Mapping = MappingProxyType({})):
        """
        Args:
            url: of the database, "sqlite:///path" or "postgresql://…"; made where it is not there.
            recipe: what results depend on; a ledger takes trainings of one recipe only.
            heartbeat: seconds between signs of life.
            defaults: of keys that a ledger may lack because they are younger than it.

        Raises:
            UserError: no such database, something else than a ledger, one of another version or recipe.
        """
        self.url = url
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats, since 2021
        made = True
        with self._explained():
            storage = _storage(url, heartbeat)
            try:
                self.study = optuna.create_study(storage=storage, study_name=NAME, direction="maximize")
                self.study.set_user_attr("recipe", recipe)
                self.study.set_user_attr("version", VERSION)
            except DuplicatedStudyError:
                self.study, made = optuna.load_study(study_name=NAME, storage=storage), False
        self.recipe, self.defaults = recipe, json.loads(json.dumps(dict(defaults)))
        if not made:
            self._check(recipe, self.defaults)

    def _check(self, recipe: dict, defaults: dict) -> None:
        deadline = time.monotonic() + PAUSE
        while "version" not in self.study.user_attrs and time.monotonic() < deadline:
            time.sleep(0.1)  # another worker is making it
        known = self.study.user_attrs
        if known.get("version") != VERSION:
            raise UserError(
                f"the pool's ledger {self.url} has version {known.get('version')}, this software writes version "
                f"{VERSION}: give another pool.folder"
            )
        check_alike(known["recipe"], recipe, defaults, "this pool was begun", "another pool.folder")

    def plan(self, trainings: Iterable[Training]) -> None:
        """Queue the trainings that are neither done, nor running, nor queued."""
        self.planned = list(trainings)
        states = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        known = {_training(trial) for trial in self.trials(states)}
        for member, seed in self.planned:
            if (member, seed) not in known:
                self.study.enqueue_trial({}, user_attrs={"member": member, "seed": seed})

    def take(self, training: Training, score: float, result: dict) -> None:
        """Keep a training that was done elsewhere."""
        member, seed = training
        attributes = {"member": member, "seed": seed, "result": result}
        self.study.add_trial(optuna.trial.create_trial(value=score, user_attrs=attributes))

    def work(self, train: Callable[[str, int], tuple[float, dict]], failures: tuple[type[Exception], ...]) -> bool:
        """Take one queued training of this plan and keep its (score, result); False where none is queued.

        What ``failures`` name is written down as a failed training; anything else leaves the training to be queued
        again, and is raised.
        """
        if not self._patiently(lambda: self._of_plan((TrialState.WAITING,))):
            return False

        def objective(trial: optuna.Trial) -> float:
            member, seed = trial.user_attrs.get("member"), trial.user_attrs.get("seed")
            # Two workers planned it at the same moment: the earlier one stays, so that neither leaves it to the other.
            others = [
                t for t in self.trials((TrialState.COMPLETE, TrialState.RUNNING)) if _training(t) == (member, seed)
            ]
            if member is None or any(t.state == TrialState.COMPLETE or t.number < trial.number for t in others):
                raise optuna.TrialPruned
            if (member, seed) not in self.planned:
                self.study.enqueue_trial({}, user_attrs={"member": member, "seed": seed})
                raise optuna.TrialPruned  # a worker with another plan knows what it is
            try:
                score, result = train(member, seed)
            except failures as error:
                trial.set_user_attr("reason", str(error))
                raise
            self._patiently(lambda: trial.set_user_attr("result", result))
            return score

        self._patiently(lambda: self.study.optimize(objective, n_trials=1, catch=failures))
        return True

    def trials(self, states: tuple[TrialState, ...]) -> list[FrozenTrial]:
        """The trials of these states, oldest first."""
        return self.study.get_trials(deepcopy=False, states=states)

    def _of_plan(self, states: tuple[TrialState, ...]) -> int:
        """How many of the plan's trainings are in one of these states."""
        planned = set(self.planned)
        return sum(_training(trial) in planned for trial in self.trials(states))

    def results(self) -> dict[Training, dict]:
        """What every finished training of the plan gave."""
        found = {_training(trial): trial.user_attrs["result"] for trial in self.trials((TrialState.COMPLETE,))}
        return {training: found[training] for training in self.planned if training in found}

    def failed(self) -> dict[Training, str]:
        """Why trainings failed that nobody has finished or is going to repeat."""
        alive = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        known = {_training(trial) for trial in self.trials(alive)}
        found = {
            _training(t): t.user_attrs["reason"] for t in self.trials((TrialState.FAIL,)) if "reason" in t.user_attrs
        }
        return {training: found[training] for training in self.planned if training in found and training not in known}

    def unfinished(self) -> int:
        """This plan's trainings queued or under way; those of workers that gave no sign of life are queued again."""
        self._patiently(lambda: fail_stale_trials(self.study))
        return self._patiently(lambda: self._of_plan((TrialState.RUNNING, TrialState.WAITING)))

    def workers(self) -> int:
        """Trainings under way."""
        return len(self.trials((TrialState.RUNNING,)))

    def seconds(self) -> float:
        """Mean duration of the finished trainings, 0 where there is none."""
        times = [t.duration.total_seconds() for t in self.trials((TrialState.COMPLETE,)) if t.duration]
        return sum(times) / len(times) if times else 0.0

    def _patiently(self, ask: Callable[[], object]):
        """Ask the database again while it is away."""
        deadline, said = time.monotonic() + PATIENCE, False
        while True:
            try:
                return ask()
            except (StorageInternalError, OperationalError) as error:
                if time.monotonic() > deadline:
                    raise UserError(
                        f"the pool's ledger {_hidden(self.url)} has not answered for {PATIENCE / 60:.0f} minutes: what "
                        "was trained lies in the pool's folder, and the same command goes on from there"
                    ) from error
                if not said:
                    logger.warning("caution    the ledger does not answer (%s): asked again", _reason(error))
                said = True
                time.sleep(PAUSE)

    @contextmanager
    def _explained(self):
        try:
            yield
        except (ArgumentError, ImportError, ValueError) as error:
            raise UserError(
                f"pool.ledger={_hidden(self.url)} cannot be used ({_reason(error)}): give a URL like sqlite:///pool.db "
                "or postgresql+psycopg://user@host/name, whose driver is installed"
            ) from None
        except (SQLAlchemyError, DatabaseError, StorageInternalError, sqlite3.Error, RuntimeError) as error:
            raise UserError(
                f"the pool's ledger {_hidden(self.url)} cannot be read ({_reason(error)}): it is not there, no ledger, "
                "or was cut short; the trainings in the pool's folder are kept, and a new ledger takes them over"
            ) from None


def check_alike(begun: Mapping, now: Mapping, defaults: Mapping, what: str, otherwise: str) -> None:
    """UserError unless two recipes are the same, a key that one lacks counting as its default."""
    begun, now = json.loads(json.dumps(dict(begun))), json.loads(json.dumps(dict(now)))
    for key in sorted({*begun, *now} - RETIRED):
        one, other = (each.get(key, defaults.get(key)) for each in (begun, now))
        if one != other:
            raise UserError(
                f"{what} with {key}={one}, now it is {other}: trainings of one pool are alike; give that value, or "
                f"{otherwise}"
            )


def _storage(url: str, heartbeat: int) -> RDBStorage:
    """The storage, its tables made where there are none; of several workers that make them at once, one is first."""
    for attempt in range(ATTEMPTS):
        try:
            return RDBStorage(
                url, heartbeat_interval=heartbeat, grace_period=MISSED * heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
            )  # fmt: skip
        except DatabaseError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.5)
    raise AssertionError("unreachable")


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path.resolve().as_posix()}"


def _training(trial: FrozenTrial) -> Training:
    return trial.user_attrs.get("member", ""), trial.user_attrs.get("seed", -1)


def _hidden(url: str) -> str:
    """A URL without its password."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.split(':')[0]}{at}{tail}"


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return str(cause).strip().splitlines()[0][:120] if str(cause).strip() else type(cause).__name__
