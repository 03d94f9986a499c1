"""What a disk, a file system and people do to a run, one after the other: ``python bench/faults.py``.

- full disk: the run's folder on a small tmpfs (where mounting is permitted; else writes fail from some call on), then
  room
- read errors: every read of a resume fails once with EIO, each in its turn
- two runs in one folder: the second is refused, the first undisturbed
- SIGTERM at moments spread over the whole run

After each, the run is resumed and must end as one that nothing disturbed, bit for bit, without a traceback on the way.
"""

import argparse
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autopose.runs.machine import machine  # noqa: E402
from bench import small_runs  # noqa: E402

RESULT_FILE = Path(__file__).parent / "results" / "faults.json"


class Faults:
    """Deals one kind of fault after the other to a small search or training."""

    def __init__(self, task: str, root: Path, data: Path):
        self.task, self.root = task, root
        self.config = small_runs.composed(task, data, "resume=auto")
        started = time.monotonic()
        calm = root / f"{task}_undisturbed"
        self.check(small_runs.run(task, self.config, calm) == 0, calm, "the undisturbed run failed")
        self.span, self.truth = time.monotonic() - started, small_runs.outcome(calm)

    def check(self, holds: bool, folder: Path, what: str) -> None:
        """RuntimeError with the run's output where something does not hold."""
        if not holds or "Traceback" in small_runs.log_of(folder):
            raise RuntimeError(f"{self.task} in {folder}: {what}\n{small_runs.log_of(folder)[-2000:]}")

    def resumed(self, folder: Path) -> bool:
        """Resume to the end; whether nothing differs from the undisturbed run."""
        self.check(small_runs.run(self.task, self.config, folder) == 0, folder, "the resumed run failed")
        return not small_runs.differences(self.truth, small_runs.outcome(folder))

    def full_disk(self, folder: Path, room: int) -> dict:
        """Run with ``room`` bytes, then with enough."""
        mounted = _mount(folder, room)
        prepare = None if mounted else partial(_fail_writes, room // 100_000)
        try:
            code = small_runs.run(self.task, self.config, folder, prepare)
            self.check(code in (0, 2), folder, f"a full disk ended with code {code}")
            if mounted:
                subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
            return {"fault": "full disk", "tmpfs": mounted, "code": code, "identical": self.resumed(folder)}
        finally:
            if mounted:
                subprocess.run(["umount", str(folder)], check=True)

    def read_error(self, folder: Path, half_done: Path, call: int) -> dict | None:
        """Resume with the read number ``call`` failing; None where the run has no such read or can do without it."""
        shutil.copytree(half_done, folder)
        code = small_runs.run(self.task, self.config, folder, partial(_fail_read, call))
        if code == 0:
            return None
        self.check(code == 2, folder, f"a read error ended with code {code}")
        return {"fault": "read error", "call": call, "code": code, "identical": self.resumed(folder)}

    def two_runs(self, folder: Path) -> dict:
        """Start a second run in the folder of one that works."""
        first = small_runs.start(self.task, self.config, folder)
        _wait(lambda: (folder / "metrics.jsonl").exists())
        second = small_runs.run(self.task, self.config, folder)
        code = small_runs.wait(first)
        self.check(code == 0 and second == 2, folder, f"codes {code} and {second}")
        self.check("is in use by process" in small_runs.log_of(folder), folder, "the second run was not told why")
        same = not small_runs.differences(self.truth, small_runs.outcome(folder))
        return {"fault": "two runs", "code": second, "identical": same}

    def terminated(self, folder: Path, share: float) -> dict | None:
        """SIGTERM after a share of the run's time; None where the run had ended by then."""
        process = small_runs.start(self.task, self.config, folder)
        time.sleep(share * self.span)
        started, alive = time.monotonic(), process.is_alive()
        if alive:
            os.kill(process.pid, signal.SIGTERM)
        code = small_runs.wait(process)
        if not alive:
            self.check(code == 0, folder, f"a run that nothing disturbed ended with code {code}")
            return None
        # Before the run has set up its answer to signals, the system's own ends it: -15.
        self.check(code in (0, 128 + signal.SIGTERM, -signal.SIGTERM), folder, f"SIGTERM ended with code {code}")
        seconds = round(time.monotonic() - started, 2)
        return {"fault": "SIGTERM", "share": share, "code": code, "seconds": seconds, "identical": self.resumed(folder)}

    def interrupted(self, folder: Path) -> Path:
        """A folder with a run that was stopped half-way."""
        process = small_runs.start(self.task, self.config, folder)
        _wait(lambda: len(list((folder / "checkpoints").glob("step_*.pt"))) > 1)
        small_runs.kill(process)
        return folder


def _wait(ready: Callable[[], bool], limit: float = 600.0) -> None:
    deadline = time.monotonic() + limit
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the run did not get there")
        time.sleep(0.002)


def _mount(folder: Path, room: int) -> bool:
    """A tmpfs of ``room`` bytes at ``folder``, where this process may mount one."""
    folder.mkdir(parents=True)
    if not hasattr(os, "geteuid") or os.geteuid() or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _fail_writes(first: int) -> None:
    """In a run's process: every fsync from call ``first`` on finds no space."""
    calls, sync = [0], os.fsync

    def failing(handle: int) -> None:
        calls[0] += 1
        if calls[0] > first:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    os.fsync = failing


def _fail_read(call: int) -> None:
    """In a run's process: the read number ``call`` of a whole file fails with EIO."""
    calls, read = [0], Path.read_bytes

    def failing(path: Path) -> bytes:
        calls[0] += 1
        if calls[0] == call:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    Path.read_bytes = failing


def deal(task: str, root: Path, data: Path, moments: int, reads: int, log=print) -> list[dict]:
    """All faults; ``moments`` of SIGTERM, and at most ``reads`` reads that fail."""
    faults, rows = Faults(task, root, data), []

    def add(row: dict | None) -> bool:
        if row is not None:
            rows.append({"task": task, **row})
            log(rows[-1])
        return row is not None

    for room in (400_000, 1_000_000):
        add(faults.full_disk(root / f"{task}_full_{room}", room))
    half_done = faults.interrupted(root / f"{task}_half")
    for call in range(1, reads + 1):
        if not add(faults.read_error(root / f"{task}_read_{call}", half_done, call)):
            break
    add(faults.two_runs(root / f"{task}_two"))
    for n in range(moments):
        add(faults.terminated(root / f"{task}_term_{n}", (n + 0.5) / moments))
    return rows


def save(rows: list[dict], path: Path) -> None:
    """The rows so far, with the machine and how many of their runs ended as if nothing had been."""
    same = sum(row["identical"] for row in rows)
    result = {"faults": len(rows), "identical_after_resume": same, **machine(), "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=12)
    parser.add_argument("--reads", type=int, default=40)
    parser.add_argument("--output", type=Path, default=RESULT_FILE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = small_runs.draw_set(root / "data")
        rows: list[dict] = []

        def add(row: dict) -> None:
            # Written as it goes: a bench that is stopped leaves what it has seen.
            print(row, flush=True)
            rows.append(row)
            save(rows, arguments.output)

        for task in ("train", "search"):
            deal(task, root, data, arguments.moments, arguments.reads, add)
    same = sum(row["identical"] for row in rows)
    print(f"{len(rows)} faults, {same} runs identical after a resume")
    return int(same != len(rows))


if __name__ == "__main__":
    sys.exit(main())
