"""Kills searches and trainings at seeded random moments and resumes them: ``python bench/chaos.py --kills 100``.

A run is started, killed with SIGKILL, resumed with ``resume=auto`` and killed again until it gets through; what it
leaves (α, controller, weights, optimizers, architecture, metrics, results) is compared bit for bit with a run that was
never killed. Half of the kills fall at any moment, half are held back until a checkpoint is being written. Every
iteration writes a checkpoint. Processes are forked from one that has everything imported (see ``small_runs``), so a
kill costs a second, and what is killed is the run rather than Python's imports.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autopose.runs.machine import machine  # noqa: E402
from bench import small_runs  # noqa: E402

RESULT_FILE = Path(__file__).parent / "results" / "chaos.json"


def kill_once(process: BaseProcess, folder: Path, moment: float, aimed: bool, limit: float = 30.0) -> dict | None:
    """Kill after ``moment`` seconds, if aimed at the next partial file; None if the run ended before."""
    started, checkpoints = time.monotonic(), folder / "checkpoints"
    while time.monotonic() - started < moment + (limit if aimed else 0):
        if not process.is_alive():
            return None
        if aimed and time.monotonic() - started >= moment and partial_files(checkpoints):
            break
        time.sleep(0 if aimed else 0.001)
    small_runs.kill(process)
    return {"moment_s": round(time.monotonic() - started, 3), "aimed": aimed, "partial": partial_files(checkpoints)}


def partial_files(checkpoints: Path) -> int:
    """Half-written files."""
    return sum(1 for _ in checkpoints.glob("*.partial"))


def batter(task: str, config, folder: Path, rng: random.Random, span: float, kills: int) -> list[dict]:
    """Start and kill a run until it gets through or ``kills`` are spent, then let it end."""
    found: list[dict] = []
    while len(found) < kills:
        process = small_runs.start(task, config, folder)
        kill = kill_once(process, folder, rng.uniform(0, span), rng.random() < 0.5)
        if kill is None:
            return found
        found.append(kill)
    code = small_runs.run(task, config, folder)
    if code:
        raise RuntimeError(f"the resumed run ended with code {code}:\n{small_runs.log_of(folder)[-2000:]}")
    return found


def chaos(kills: int, seed: int, root: Path, per_run: int = 12, log=print) -> dict:
    """Batter searches and trainings in turn until ``kills`` were dealt; returns the summary."""
    rng, data = random.Random(seed), small_runs.draw_set(root / "data")
    configs = {task: small_runs.composed(task, data, "resume=auto", "name=chaos") for task in ("search", "train")}
    truth, spans = {}, {}
    for task, config in configs.items():
        started = time.monotonic()
        if small_runs.run(task, config, root / f"{task}_undisturbed"):
            raise RuntimeError(small_runs.log_of(root / f"{task}_undisturbed")[-2000:])
        spans[task] = time.monotonic() - started
        truth[task] = small_runs.outcome(root / f"{task}_undisturbed")
    rows: list[dict] = []
    while sum(len(row["kills"]) for row in rows) < kills:
        task = ("search", "train")[len(rows) % 2]
        folder = root / f"{task}_{len(rows)}"
        left = kills - sum(len(row["kills"]) for row in rows)
        found = batter(task, configs[task], folder, rng, 0.35 * spans[task], min(per_run, left))
        different = small_runs.differences(truth[task], small_runs.outcome(folder))
        rows.append({"task": task, "kills": found, "different": different})
        log(f"{task}: {len(found)} kills, {len(different)} of {len(truth[task])} values differ")
    return summary(rows, truth, seed)


def summary(rows: list[dict], truth: dict, seed: int) -> dict:
    """What is written down."""
    dealt = [kill for row in rows for kill in row["kills"]]
    return {
        "kills": len(dealt),
        "kills_inside_checkpoint_writing": sum(kill["partial"] > 0 for kill in dealt),
        "kills_at_any_moment": sum(not kill["aimed"] for kill in dealt),
        "runs": len(rows),
        "runs_identical_to_the_bit": sum(not row["different"] for row in rows),
        "values_compared": {task: len(values) for task, values in truth.items()},
        "seed": seed,
        **machine(),
        "rows": [
            {"task": r["task"], "kills": len(r["kills"]), "moments_s": [k["moment_s"] for k in r["kills"]],
             "inside_writing": sum(k["partial"] > 0 for k in r["kills"]), "different": r["different"]} for r in rows
        ],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULT_FILE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        result = chaos(arguments.kills, arguments.seed, Path(root))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print({name: value for name, value in result.items() if name != "rows"})
    return int(result["runs_identical_to_the_bit"] != result["runs"])


if __name__ == "__main__":
    sys.exit(main())
