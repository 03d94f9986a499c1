"""Do the first steps of a training tell how it ends? ``python -m bench.trials --root FIGURES``.

Every member of a pool is trained for a few steps from scratch, several times, as a derivation with ``search.trials``
does it (``autopose/engine/trials.py``); ``bench/results/trials.csv`` gets a row as each ends, and the same command goes
on with what lacks. Then it prints Kendall τ, over the random members, between the mean loss of the first steps and the
score of the whole training; what networks of the band score that are chosen so among K others; and both for random,
hand-made and found ones. ``--report`` prints alone.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autopose.config.composed import composed
from autopose.engine.trials import Trials
from autopose.metrics.significance import kendall
from autopose.pool import Entry, Table
from autopose.runs.datasets import load_annotations, pose_dataset
from autopose.runs.machine import machine
from autopose.runs.runtime import finish, start
from bench.evidence import groups
from bench.variants import append

RESULTS = Path(__file__).parent / "results"
# Means of the first so many steps that are kept.
STEPS = (10, 20, 40)
CHOICES, REPETITIONS = (4, 8, 16, 24), 10_000


def measure(entries: Sequence[Entry], repeats: int, root: str | None, path: Path) -> None:
    """Append a row for every architecture and repeat that has none yet."""
    done = {(row["architecture"], int(row["repeat"])) for row in read(path)}
    config = composed(
        "search", "experiment=pool", f"search.trials.steps={STEPS[-1]}", *([f"data.root={root}"] if root else [])
    )
    with tempfile.TemporaryDirectory() as folder:
        runtime = start("cpu", folder, config.threads)
        try:
            data = pose_dataset(load_annotations(config.data, "train"), config.data, augment=True)
            trials = Trials(config, runtime, data)
            for repeat in range(repeats):
                for entry in entries:
                    if (entry.name, repeat) not in done:
                        losses = trials.losses(entry.architecture, repeat)
                        means = {f"loss_{n}": f"{np.mean(losses[:n]):.6e}" for n in STEPS}
                        append(path, {"architecture": entry.name, "repeat": repeat, **means, **about()})
        finally:
            finish(runtime)


def about() -> dict[str, str]:
    """Where a row was measured."""
    return {name: machine()[name] for name in ("cpu", "torch")}


def read(path: Path) -> list[dict]:
    """The rows that stand."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def means(entries: Sequence[Entry], rows: Sequence[dict], steps: int) -> np.ndarray:
    """(architectures, repeats) mean losses of the first steps; of the repeats that every architecture has."""
    known = {(row["architecture"], int(row["repeat"])): float(row[f"loss_{steps}"]) for row in rows}
    repeats = 0
    while all((entry.name, repeats) in known for entry in entries):
        repeats += 1
    return np.array([[known[entry.name, repeat] for repeat in range(repeats)] for entry in entries])


def report(entries: Sequence[Entry], metric: str, rows: Sequence[dict]) -> Iterator[str]:
    """Lines on random members: how they are ordered, and who is chosen."""
    score = np.array([next(iter(entry.scores.values()))[metric] for entry in entries])
    band = np.array([entry.band for entry in entries])
    for steps in STEPS:
        loss = means(entries, rows, steps)
        if not loss.size:
            yield "no repeat is complete yet"
            return
        single = np.mean([kendall(-one, score).value for one in loss.T])
        yield (
            f"first {steps:3} steps: tau of one trial {single:.2f}, of the mean of {loss.shape[1]} "
            f"{kendall(-loss.mean(1), score)}; within the band {kendall(-loss.mean(1)[band], score[band])}"
        )
    draws = np.random.default_rng(0)
    for steps in STEPS:
        loss, mine = means(entries, rows, steps).mean(1)[band], score[band]
        for count in [each for each in CHOICES if each < len(mine)]:
            picks = draws.permuted(np.tile(np.arange(len(mine)), (REPETITIONS, 1)), axis=1)[:, :count]
            chosen = mine[picks[np.arange(REPETITIONS), loss[picks].argmin(1)]]
            yield (
                f"of {count:2} of the band, the one with the least loss of {steps} steps: {chosen.mean():.1f} ± "
                f"{chosen.std():.1f}, all of them {mine.mean():.1f}"
            )


def grouped(table: Table, rows: Sequence[dict]) -> Iterator[str]:
    """A line a group of members: what they lose at first and score at last."""
    for name, entries in groups(table).items():
        loss = means(entries, rows, STEPS[-1])
        if loss.size:
            early, score = loss.mean(1) * 1e3, np.array([entry.mean(table.metric) for entry in entries])
            spread = f" ± {early.std(ddof=1):.2f}" if len(early) > 1 else ""
            yield (
                f"{name:24} {len(entries):2} networks: first {STEPS[-1]} steps {early.mean():.2f}{spread} (10^-3, "
                f"{loss.shape[1]} trials each), {table.metric} {score.mean():.1f}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=RESULTS / "pool.json")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--root", help="folder that the figures are drawn into, or lie in")
    parser.add_argument("--results", type=Path, default=RESULTS / "trials.csv")
    parser.add_argument("--report", action="store_true", help="train nothing")
    asked = parser.parse_args(arguments)
    table = Table.load(asked.pool)
    entries = [entry for entry in table if entry.width == 1]
    if not asked.report:
        measure(entries, asked.repeats, asked.root, asked.results)
    rows = read(asked.results)
    drawn = [entry for entry in entries if entry.name.startswith("random")]
    print("\n".join([*report(drawn, table.metric, rows), *grouped(replace(table, entries=tuple(entries)), rows)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
