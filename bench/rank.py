"""Does a supernet's score order architectures as training them alone does? ``python -m bench.rank CHECKPOINT ...``.

Members of a pool (``bench/results/pool.json``) are scored with the shared weights of each search checkpoint, as its
reward would, on the reward subset; their order is compared with that of the pool's own scores, on the validation split.
Beside them stand the trivial predictor, multiply-adds, and the ceiling that the noise of one training sets. Writes
``bench/results/rank.csv``, a row a checkpoint.
"""

import argparse
import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from autopose.config import from_checkpoint
from autopose.config.schema import Config
from autopose.engine.search import SearchRun
from autopose.metrics.significance import ceiling, kendall
from autopose.nas.derive import columns_of
from autopose.pool import Entry, Table
from autopose.pool.predictor import LEAST, Predictor
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.machine import machine
from autopose.runs.runtime import finish, start
from autopose.space import Architecture
from autopose.space.ops import ordered

RESULTS = Path(__file__).parent / "results"


def supernet_scores(checkpoint: Path, entries: list[Entry]) -> tuple[list[float], dict]:
    """Rewards of the pool's members, and what the search was."""
    content = read_checkpoint(checkpoint, "search")
    config = from_checkpoint(content["config"], Config(), [])
    with tempfile.TemporaryDirectory() as folder:
        runtime = start("cpu", folder, config.threads)
        try:
            search = SearchRun(config, runtime)
            search.load(content)
            alphas = search.bilevel.alphas
            scores = [
                search.reward.score(each.architecture.macro, columns_of(alphas, each.architecture), penalised=False)
                for each in entries
            ]
        finally:
            finish(runtime)
    settings = config.search
    about = {
        "algorithm": settings.algorithm, "relaxation": settings.gumbel.relaxation, "seed": config.seed,
        "steps": search.bilevel.step, "batch": settings.batch_size, "reward images": settings.reward.images,
        "batch norm": settings.reward.batch_norm,
    }  # fmt: skip
    return scores, about


def ranking(table: Table, scores: list[float]) -> dict:
    """Kendall τ with intervals: over all, and within the band of multiply-adds."""
    alone = np.array([entry.mean(table.metric) for entry in table])
    banded = np.array([entry.band for entry in table])
    size = np.array([entry.gmacs for entry in table])
    found = {}
    for name, rows in (("all", np.ones(len(alone), bool)), ("band", banded)):
        found[f"tau {name}"] = str(kendall(np.array(scores)[rows], alone[rows]))
        found[f"tau of GMACs {name}"] = str(kendall(size[rows], alone[rows]))
    best = np.argsort(scores)[::-1][: max(len(scores) // 10, 1)]
    found["percentile of the best tenth"] = round(float(np.mean([(alone <= alone[n]).mean() * 100 for n in best])), 1)
    return found


def predictors(table: Table) -> dict:
    """Kendall τ of what needs no supernet: sizes, operations, the training loss after each epoch of the same seed."""
    first = [entry for entry in table if 0 in entry.scores]
    score = np.array([entry.scores[0][table.metric] for entry in first])
    active = np.array([sum(map(sum, entry.architecture.macro.rows)) for entry in first])
    found = {
        "tau of multiply-adds": str(kendall(np.array([entry.gmacs for entry in first]), score)),
        "tau of active branches": str(kendall(active, score)),
    }
    used = [Counter(_operations(entry.architecture)) for entry in first]
    for op in ordered(set().union(*used)):
        found[f"tau of how often {op}"] = str(kendall(np.array([counts[op] for counts in used]), score))
    for epoch in range(min((len(entry.losses.get(0, ())) for entry in first), default=0)):
        loss = np.array([entry.losses[0][epoch] for entry in first])
        found[f"tau of -loss after epoch {epoch + 1}"] = str(kendall(-loss, score))
    if len(first) > LEAST:
        found["tau of a predictor of each, fitted to all others"] = str(kendall(_left_out(first, score), score))
    return found


def _operations(architecture: Architecture) -> list[str]:
    """Of every edge of every cell."""
    return [op for cells in architecture.cells for cell in cells.values() for op in cell.ops]


def _left_out(entries: list[Entry], score: np.ndarray) -> list[float]:
    """Every member's score as predicted from the others."""
    architectures = [entry.architecture for entry in entries]
    operations = {op for each in architectures for op in _operations(each)}
    found = []
    for out, architecture in enumerate(architectures):
        others = [each for number, each in enumerate(architectures) if number != out]
        found.append(Predictor.fit(others, np.delete(score, out), sorted(operations))(architecture))
    return found


def noise(table: Table) -> dict:
    """Deviation between architectures and between seeds, and the ceiling of a correlation with one training."""
    pairs = [list(entry.scores.values()) for entry in table if len(entry.scores) > 1]
    first, second = ([row[n][table.metric] for row in pairs] for n in (0, 1))
    scores = [entry.mean(table.metric) for entry in table]
    of_seeds = {
        "deviation between seeds": round(float(np.std(np.subtract(first, second), ddof=1) / 2**0.5), 2),
        "correlation's ceiling": round(ceiling(first, second), 3),
        "tau between seeds": str(kendall(first, second)),
    } if len(pairs) > 2 else {}  # fmt: skip
    return {
        "architectures": len(table),
        "with two seeds": len(pairs),
        "deviation between architectures": round(float(np.std(scores, ddof=1)), 2),
        **of_seeds,
        "constant pose": round(table.constant[table.metric], 2),
        "best": round(max(scores), 2),
        "worst": round(min(scores), 2),
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", type=Path, nargs="*", help="of searches on the pool's data and space")
    parser.add_argument("--pool", type=Path, default=RESULTS / "pool.json")
    parser.add_argument("--all", action="store_true", help="hand-made and found members too, not random ones alone")
    parser.add_argument("--output", type=Path, default=RESULTS / "rank.csv")
    asked = parser.parse_args()
    table = Table.load(asked.pool)
    entries = [entry for entry in table if entry.width == 1 and (asked.all or entry.name.startswith("random"))]
    table = Table(table.space, table.metric, table.recipe, tuple(entries), table.constant, table.made_with)
    for key, value in {**noise(table), **predictors(table)}.items():
        print(f"{key:32} {value}")
    rows = []
    for checkpoint in asked.checkpoints:
        scores, about = supernet_scores(checkpoint, entries)
        rows.append({**about, **ranking(table, scores)})
        print(rows[-1], flush=True)
    if rows:
        with asked.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [*rows[0], *machine()], lineterminator="\n")
            writer.writeheader()
            writer.writerows(row | machine() for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
