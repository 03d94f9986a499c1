"""Searches that differ in one thing, each with what it found trained from scratch: ``python -m bench.variants table4``.

``table4`` are the paper's four rows at the pool's size: one branch at most, no aggregation cells, all branches always,
everything. ``remedies`` switches one setting of the search, or of the training of what it found, at a time. A variant
is searched and trained once a seed, by the pool's recipe; ``bench/results/variants_SET.csv`` gets a row as each ends,
and the same command goes on with what lacks. Then it prints every variant over its seeds, its difference from the whole
search paired by seed (Holm), and of ``table4`` Page's test of the paper's order. ``--report`` prints alone.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from autopose.metrics.significance import difference, holm, summarise
from autopose.runs.machine import machine
from autopose.space import Architecture
from autopose.space.builtin import Size

RESULTS = Path(__file__).parent / "results"
WHOLE = "whole search"
FIGURES = Size((64, 96), 17)  # the pool's: drawn figures have COCO's joints
# The order of table4 is the paper's, from the worst to the best.
SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "table4": {
        "single scale": ("space.max_active=1",),
        "no aggregation cells": ("space.aggregation=concat",),
        "all branches always": ("space.min_active=3",),
        WHOLE: (),
    },
    "remedies": {
        WHOLE: (),
        "by rewards, no trials": ("search.trials.candidates=0",),
        "no warm-up": ("search.alpha_start_epoch=0", "search.controller.start_epoch=0"),
        "twice the warm-up": ("search.alpha_start_epoch=8", "search.controller.start_epoch=8"),
        "300 pictures a reward": ("search.reward.images=300",),
        "multiply-adds in both levels": ("search.cost=gmacs", "search.cost_weight=0.5", "search.cost_target=0.012"),
        "fair single paths": ("search.gumbel.relaxation=one_op", "search.sampling=fair", "search.paths=6"),
        "averaged weights": (),
    },
}
# What a variant changes in the training alone: it trains the network of the whole search with the same seed.
TRAINED = {"averaged weights": ("train.ema=0.995",)}


def run(task: str, folder: Path, *arguments: str) -> None:
    """A command of the project, unless its folder says that it ended."""
    if not (folder / "run.json").is_file():
        command = [sys.executable, "-m", f"autopose.{task}", *arguments, f"hydra.run.dir={folder}", "resume=auto"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def measured(variant: str, switches: Sequence[str], seed: int, out: Path, root: str | None) -> dict:
    """The row of a variant's search with one seed and of the training of what it found."""
    name, searched = (f"{of.replace(' ', '_')}-{seed}" for of in (variant, WHOLE if variant in TRAINED else variant))
    shared = [f"seed={seed}", *([f"data.root={root}"] if root else [])]
    run("search", out / searched / "search", "experiment=pool_bilevel", *shared, *switches)
    path, recipe = out / searched / "search" / "architecture.json", TRAINED.get(variant, ())
    run("train", out / name / "train", "experiment=pool", *shared, *recipe, f"architecture={path}")
    scores = json.loads((out / name / "train" / "metrics.json").read_text(encoding="utf-8"))
    architecture, info = Architecture.load(path), machine()
    gmacs = FIGURES.gmacs(architecture)
    return {
        "variant": variant, "seed": seed, "beta": str(architecture.macro)[1:-1], "gmacs": round(gmacs, 5),
        "PCK": round(scores["Mean"], 3), "AP": round(scores["AP"], 5), "cpu": info["cpu"], "torch": info["torch"],
    }  # fmt: skip


def read(path: Path) -> list[dict]:
    """The rows that stand."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row | {"seed": int(row["seed"]), "PCK": float(row["PCK"])} for row in csv.DictReader(file)]


def append(path: Path, row: Mapping) -> None:
    """Add a row at the file's end."""
    new = not path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def summary(name: str, rows: Sequence[Mapping]) -> Iterator[str]:
    """What the rows of a set say, as the lines of a table and of a test."""
    scores = {variant: {row["seed"]: row["PCK"] for row in rows if row["variant"] == variant} for variant in SETS[name]}
    scores = {variant: of for variant, of in scores.items() if of}
    whole = scores.get(WHOLE, {})
    others = [variant for variant in scores if variant != WHOLE]
    raw = {}
    for variant in others:
        seeds = sorted(scores[variant].keys() & whole.keys())
        raw[variant] = difference([scores[variant][s] for s in seeds], [whole[s] for s in seeds], paired=True)
    known = [variant for variant in others if np.isfinite(raw[variant])]
    corrected = dict(zip(known, holm([raw[variant] for variant in known]), strict=True))
    yield "| variant | PCK@0.2 | GMACs | p of no difference from the whole search |"
    yield "| --- | --- | --- | --- |"
    for variant, of in scores.items():
        sizes = [float(row["gmacs"]) for row in rows if row["variant"] == variant]
        p = f"{corrected[variant]:.3g}" if variant in corrected else ""
        yield f"| {variant} | {summarise([*of.values()])} | {min(sizes):.4f} to {max(sizes):.4f} | {p} |"
    seeds = sorted(set.intersection(*(set(of) for of in scores.values()))) if scores else []
    if name == "table4" and len(scores) == len(SETS[name]) and len(seeds) > 1:
        blocks = [[scores[variant][seed] for variant in SETS[name]] for seed in seeds]
        p = stats.page_trend_test(blocks).pvalue
        yield f"\nPage's test of the order above, {len(seeds)} seeds: p = {p:.3g}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--root", help="folder that the figures are drawn into, or lie in")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench/variants"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="run nothing")
    asked = parser.parse_args(arguments)
    path = asked.results / f"variants_{asked.set}.csv"
    done = {(row["variant"], row["seed"]) for row in read(path)}
    for seed in range(0 if asked.report else asked.seeds):
        for variant, switches in SETS[asked.set].items():
            if (variant, seed) not in done:
                append(path, measured(variant, switches, seed, asked.out.resolve(), asked.root))
    print("\n".join(summary(asked.set, read(path))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
