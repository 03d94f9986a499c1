"""Bilevel search beside random search and evolution: ``python bench/search_compare.py`` (twenty minutes on two cores).

Every algorithm searches the quick space on the drawn figures with the same budget: as many steps of shared weights, as
many rewards. Each found network is trained from scratch alike and scored on the validation split, which no search
sees. One row for every algorithm and seed; a seed also draws the set, so rows of one seed share it. Beside them, per
seed, networks drawn without any search. The figures are what they are: no run is repeated or left out.
"""

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, pstdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autopose.runs.machine import machine  # noqa: E402
from bench import small_runs  # noqa: E402

RESULT_FILE = Path(__file__).parent / "results" / "search_compare.csv"
ALGORITHMS = ("bilevel", "random", "evolution", "no search")
LIMIT_S = 3600


def completed(task: str, folder: Path, *overrides: str) -> float:
    """Run ``task`` to its end; returns seconds."""
    started = time.monotonic()
    process = small_runs.start(task, small_runs.configured(task, *overrides), folder)
    if small_runs.wait(process, LIMIT_S):
        raise RuntimeError(f"{folder}:\n{small_runs.log_of(folder)[-3000:]}")
    return round(time.monotonic() - started, 1)


def compare(algorithm: str, seed: int, root: Path, search_epochs: int, train_epochs: int, extra: list[str]) -> dict:
    """Search, train and score once."""
    from autopose.space import Architecture
    from autopose.space.macs import count_macs

    base = [f"seed={seed}", f"data.root={root}/data_{seed}", f"threads={os.cpu_count()}", *extra]
    folder = root / f"{algorithm.replace(' ', '_')}_{seed}"
    found, search_s, reward = "random", 0.0, float("nan")
    if algorithm != "no search":
        search_s = completed("search", folder, *base, f"search.algorithm={algorithm}", f"search.epochs={search_epochs}")
        found = str(folder / "architecture.json")
        reward = Architecture.load(found).found_by["reward"]
    trained = folder.with_name(folder.name + "_trained")
    schedule = [f"train.epochs={train_epochs}", f"train.milestones=[{max(1, round(0.8 * train_epochs))}]"]
    train_s = completed("train", trained, *base, f"architecture={found}", *schedule, "train.evaluate_every=0")
    metrics = json.loads((trained / "metrics.json").read_text())
    architecture = Architecture.load(trained / "architecture.json")
    config = small_runs.configured("train", *base)
    size, width = list(config.data.image_size), config.train.width
    macs = count_macs(architecture.space(width).macro, architecture.macro, architecture.cells, size, 17)
    return {
        "algorithm": algorithm, "seed": seed, "beta": str(architecture.macro), "supernet_reward": round(reward, 4),
        "AP": round(metrics["AP"], 4), "PCK@0.2": round(metrics["Mean"], 2), "GMACs": round(macs / 1e9, 4),
        "search_epochs": search_epochs, "train_epochs": train_epochs, "search_s": search_s, "train_s": train_s,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--algorithms", nargs="+", default=list(ALGORITHMS), choices=ALGORITHMS)
    parser.add_argument("--search-epochs", type=int, default=6)
    parser.add_argument("--train-epochs", type=int, default=8)
    parser.add_argument("--override", nargs="*", default=[], help="of the configuration, for all runs")
    parser.add_argument("--output", type=Path, default=RESULT_FILE)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for seed in arguments.seeds:
            for algorithm in arguments.algorithms:
                row = compare(algorithm, seed, Path(root), arguments.search_epochs, arguments.train_epochs,
                              arguments.override)  # fmt: skip
                rows.append(row)
                print(row, flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *machine()])
        writer.writeheader()
        writer.writerows(row | machine() for row in rows)
    for algorithm in arguments.algorithms:
        own = [row for row in rows if row["algorithm"] == algorithm]
        values = {key: [row[key] for row in own] for key in ("AP", "PCK@0.2", "GMACs")}
        figures = [f"{key} {mean(found):.3f} ± {pstdev(found):.3f}" for key, found in values.items()]
        print(f"{algorithm:10}  {'   '.join(figures)}   ({len(own)} seeds)")


if __name__ == "__main__":
    main()
