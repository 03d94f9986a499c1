"""Train a pool of architectures alike and write its table: ``python -m autopose.pool``.

The same command goes on where it was stopped; more workers join by the same command, here or on other machines.
"""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from autopose.command import main, overrides
from autopose.config import Config, prepared
from autopose.errors import UserError
from autopose.runs.datasets import load_annotations
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> None:
    """Work, wait for the workers started here, and write ``pool.json``."""
    try:
        from autopose.pool.ledger import Ledger, sqlite_url
    except ImportError as error:
        raise UserError(f"a pool needs Optuna: pip install 'autopose[pool]' ({error})") from None
    from autopose.pool.plan import Plan
    from autopose.pool.worker import BEFORE, Worker, recipe_of

    settings = config.pool
    folder = Path(settings.folder or f"outputs/pool/{config.name}")
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(config, load_annotations(config.data, "train").schema.num_joints)
    ledger = Ledger(settings.ledger or sqlite_url(folder / "ledger.db"), recipe_of(config), settings.heartbeat, BEFORE)
    worker = Worker(config, runtime, plan, ledger, folder)
    others = [_start(number, runtime.folder, folder) for number in range(1, settings.workers)]
    try:
        worker.run()
    finally:
        for process in others:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.send_signal(signal.SIGTERM)
        for process in others:
            process.wait()
    table, path = worker.table(), runtime.folder / "pool.json"
    table.save(path)
    failed = ledger.failed()
    for (name, seed), reason in failed.items():
        logger.warning("failed     %s, seed %d: %s", name, seed, reason)
    logger.info("table      %s: %d architectures, %d trainings", path, len(table), len(ledger.results()))
    if failed:
        raise UserError(f"{len(failed)} trainings failed; the same command tries them again")


def _start(number: int, run_folder: Path, folder: Path) -> subprocess.Popen:
    """Another worker of the same pool on this machine; its lines go to a log of its own."""
    own = run_folder / f"worker{number}"
    own.mkdir(parents=True, exist_ok=True)
    given = [item for item in overrides() if item.partition("=")[0] not in ("pool.workers", "pool.folder")]
    arguments = prepared([*given, f"pool.folder={folder}", f"pool.worker={number}", f"hydra.run.dir={own}"], False)
    with open(own / "output.txt", "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "autopose.pool", *arguments], stdout=output, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, env=os.environ,
        )  # fmt: skip


if __name__ == "__main__":
    main("pool", run)
