"""What every command line shares: composing the configuration, one-sentence errors, exit codes."""

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from autopose import __version__
from autopose.config import Config, check_used, composition_problem, from_hydra, prepared
from autopose.errors import Diverged, Incomplete, UserError
from autopose.help import help_text
from autopose.runs.earlier import HYDRA, LOG, EarlierRun
from autopose.runs.lock import FILE, RunLock
from autopose.runs.runtime import Interrupted, Runtime, finish, printable, start
from autopose.runs.surroundings import surroundings_kept
from autopose.runs.trackers import package
from autopose.stdout import show

# Exit codes: of a user's mistake, and from which on they are those of signals, which end a sweep too.
REFUSED, SIGNALLED = 2, 128
HYDRA_OPTIONS = (
    "--help", "--help-all", "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun",
    "--shell-completion", "--config-path", "--config-name", "--config-dir", "--experimental-rerun", "--info",
)  # fmt: skip
# The folders of the run's path that it made, the innermost first.
made: list[Path] = []
# The runs that were in the folders of this command or sweep before it, by folder.
earlier: dict[Path, EarlierRun] = {}
# The words of the command that runs.
given: ContextVar[list[str] | None] = ContextVar("given", default=None)


def main(task: str, run: Callable[[Config, Runtime], Any]) -> None:
    """Run ``run`` under the configuration of the command line. Exit codes: 2 a user's mistake, 3 a diverged run,
    128 + n after signal n; of a sweep (-m) the highest of its runs'.
    """
    _answer(task, sys.argv[1:])
    if int(os.environ.get("RANK", 0)) > 0:
        # Hydra makes a folder for every process; the first one's is used by all.
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null"]
    try:
        sys.argv[1:] = prepared(sys.argv[1:], sweeping=bool({"-m", "--multirun"} & set(sys.argv[1:])))
    except UserError as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        sys.exit(2)
    codes: list[int] = []

    @hydra.main(version_base="1.3", config_path="pkg://autopose.configs", config_name=task)
    def job(composed: DictConfig) -> None:
        folder = HydraConfig.get().runtime.output_dir
        code = execute(run, composed, folder)
        before = earlier.get(Path(folder).resolve())
        if code == REFUSED and before:
            before.put_back()
        goes_on = _sweeps_here() and code < SIGNALLED
        if goes_on:
            codes.append(code)
        if code and goes_on:
            which = f"run {HydraConfig.get().job.num} ({' '.join(overrides())})"
            print(f"{which} failed with exit code {code}; the sweep goes on", file=sys.stderr)
        elif code:
            if code == REFUSED:
                remove_made()
            sys.exit(code)

    # With it Hydra raises what it would print in a voice of its own.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        print(printable(f"error: {composition_problem(error)}"), file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # Hydra itself writes into the run's folder before anything of this software runs.
        where = f" {error.filename}" if error.filename else ""
        print(printable(f"error: cannot write the run's folder{where}: {error.strerror or error}"), file=sys.stderr)
        sys.exit(2)
    if any(codes):
        print(f"error: {sum(map(bool, codes))} of {len(codes)} runs of the sweep failed", file=sys.stderr)
        sys.exit(max(codes))


def _answer(task: str, arguments: list[str]) -> None:
    """Print the help or the version and exit, where one of them is asked for, and refuse an option that does not exist.

    ``--hydra-help`` is Hydra's own.
    """
    if {"-h", "--help", "--help-all"} & set(arguments):
        show(help_text(task, every_key="--help-all" in arguments))
        sys.exit(0)
    if "--version" in arguments:
        print(f"autopose {__version__}")
        sys.exit(0)
    for word in arguments:
        option = word.partition("=")[0]
        if option.startswith("--") and not any(known.startswith(option) for known in HYDRA_OPTIONS):
            close = get_close_matches(option, HYDRA_OPTIONS, 1)
            hint = f"did you mean {close[0]}?" if close else "keys are given as KEY=VALUE, and --help tells them"
            print(printable(f"error: there is no option {option}: {hint}"), file=sys.stderr)
            sys.exit(2)


class FoldersBefore(Callback):
    """Notes, before Hydra writes, which folders of a run's path are missing, and what an earlier run left."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra, which has not set its own configuration yet: the folder's name may refer to it."""
        HydraConfig.instance().set_config(config)
        folder = Path(config.hydra.run.dir).absolute()
        made[:] = [path for path in (folder, *folder.parents) if not path.exists()]
        if not made and config.hydra.output_subdir:
            earlier[folder.resolve()] = EarlierRun(folder)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra before the first run of a sweep."""
        HydraConfig.instance().set_config(config)
        for configuration in Path(config.hydra.sweep.dir).resolve().glob(f"*/{HYDRA}"):
            earlier[configuration.parent] = EarlierRun(configuration.parent)


def remove_made() -> None:
    """Remove what this run made, where it holds nothing but Hydra's files and an empty log and no other run has it."""
    if not made:
        return
    folder, *parents = made
    with suppress(OSError, UserError):
        lock = RunLock(folder)
        names, log = {path.name for path in folder.iterdir()}, folder / LOG
        if names <= {HYDRA, FILE, LOG} and not (log.exists() and log.stat().st_size):
            shutil.rmtree(folder)
            for parent in parents:
                parent.rmdir()
        lock.release()


def _sweeps_here() -> bool:
    """Whether this run is one of a sweep whose runs follow each other in this process."""
    config = HydraConfig.get()
    return config.mode == RunMode.MULTIRUN and config.launcher._target_.endswith("BasicLauncher")


def execute(run: Callable[[Config, Runtime], Any], composed: DictConfig, folder: str) -> int:
    """Run ``run`` in ``folder``; returns the exit code, a user's mistake being one sentence on stderr."""
    try:
        config = from_hydra(composed)
        check_used(config.task, overrides(), config)
        performed(run, config, folder, overrides())
    except (UserError, Diverged) as error:
        print(printable(f"error: {error}"), file=sys.stderr)
        return 1 if isinstance(error, Incomplete) else REFUSED if isinstance(error, UserError) else 3
    except Interrupted as interrupted:
        print(interrupted)
        return interrupted.exit_code
    except KeyboardInterrupt:
        print("stopped at once: resume=auto with the same hydra.run.dir continues from the last checkpoint")
        return 130
    return 0


def performed(run: Callable[[Config, Runtime], Any], config: Config, folder: str | Path, words: Sequence[str]) -> Any:
    """What ``run`` returns, in ``folder``; what it sets for this process is given back, however it ends.

    Args:
        run: of a command's module.
        config: its configuration.
        folder: of the run.
        words: the overrides that were given, which ``overrides`` returns meanwhile.
    """
    token, runtime = given.set(list(words)), None
    with surroundings_kept():
        try:
            if config.tracker != "none" and int(os.environ.get("RANK", 0)) == 0:
                package(config.tracker)  # before data are made or read
            runtime = start(config.device, folder, config.threads, config.deterministic, config.precision)
            return run(config, runtime)
        finally:
            finish(runtime)
            given.reset(token)


def overrides() -> list[str]:
    """The overrides of the command line, as in ["data.root=...", "experiment=lsp"]; none without a command line."""
    words = given.get()
    if words is not None:
        return words
    if not HydraConfig.initialized():
        return []
    return list(HydraConfig.get().overrides.task)
