"""Search algorithms on a pool's table: ``python -m bench.regret`` writes bench/results/regret.csv and a figure.

What an algorithm asks for is answered by the nearest member of the pool: the fewest branches, then the fewest edges,
that differ. An algorithm that proposes β alone, as Algorithm 1's controller does, is answered by any of the members of
the nearest β. The score is that of one of the member's seeds. A run keeps the member that scored best so far; its curve
is that member's mean over its seeds, which the algorithm never sees. ``guided`` is no algorithm of a search: it fits
``autopose.pool.predictor`` to what it was told, and asks for the member that is predicted best.
"""

import argparse
import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from autopose.config.search_keys import SearchConfig
from autopose.nas import ArchitectureParameters, ControllerSettings
from autopose.nas.algorithms import Algorithm, Candidate, Evolution, Policy, RandomSearch, Task, random_candidate
from autopose.nas.derive import columns_of
from autopose.nas.randomness import derive_seed, generator
from autopose.pool import Entry, Table
from autopose.pool.predictor import LEAST, Predictor
from autopose.report.comparison_figure import COLOURS
from autopose.report.curves import finish
from autopose.report.saving import save_figure
from autopose.space import SearchSpace

RESULTS = Path(__file__).parent / "results"
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "regret.png"


class Pool:
    """The members of a table, as what an algorithm asks."""

    def __init__(self, table: Table):
        self.table, self.members = table, list(table)
        space = SearchSpace.full(table.space, operations=table.recipe["space.operations"])
        self.alphas = ArchitectureParameters(space)
        self.ops = [columns_of(self.alphas, member.architecture) for member in self.members]
        self.means = [member.mean(table.metric) for member in self.members]

    def candidate(self, number: int) -> Candidate:
        """A member as an algorithm proposes it."""
        return Candidate(self.members[number].architecture.macro, self.ops[number])

    def nearest(self, candidate: Candidate, draws: random.Random) -> int:
        """The number of the member that stands for a candidate."""
        rows = [np.not_equal(candidate.beta.rows, member.architecture.macro.rows).sum() for member in self.members]
        edges = [0] * len(rows) if candidate.ops is None else [_differ(candidate.ops, ops) for ops in self.ops]
        distances = list(zip(rows, edges, strict=True))
        best = min(distances)
        alike = [number for number, distance in enumerate(distances) if distance == best]
        return draws.choice(alike) if candidate.ops is None else alike[0]

    def score(self, number: int, draws: random.Random) -> float:
        """Of one seed."""
        return draws.choice(list(self.members[number].scores.values()))[self.table.metric]


def _differ(one: dict[str, list[int]], other: dict[str, list[int]]) -> int:
    return sum(a != b for name in one for a, b in zip(one[name], other[name], strict=True))


class Guided(Algorithm):
    """Random members first, then the one that is predicted best of those not asked for yet."""

    pool: Pool
    first = 2 * LEAST

    def __init__(self, task: Task):
        super().__init__(task)
        self.told: dict[int, float] = {}

    def ask(self, draws) -> list[Candidate]:
        """One at a time."""
        if len(self.told) < self.first:
            return [random_candidate(self.task.macro, self.task.alphas, draws)]
        members = self.pool.members
        predictor = Predictor.fit(
            [members[n].architecture for n in self.told], [*self.told.values()], self.task.alphas.operations
        )
        others = [n for n in range(len(members)) if n not in self.told] or [*self.told]
        return [self.pool.candidate(max(others, key=lambda n: predictor(members[n].architecture)))]

    def tell(self, candidates: Sequence[Candidate], rewards: Sequence[float], progress: float) -> dict:
        """The members that answered."""
        self.told |= {self.pool.nearest(c, random.Random(0)): r for c, r in zip(candidates, rewards, strict=True)}
        return {}


def settings() -> SearchConfig:
    """A controller that learns within the few evaluations that a table has; the quick search's."""
    return SearchConfig(controller=ControllerSettings(lr=1e-2, entropy_weight=0.0))


def curve(pool: Pool, kind: type[Algorithm], budget: int, seed: int) -> list[float]:
    """The mean of the best member so far, after each of ``budget`` evaluations."""
    draws = random.Random(derive_seed(seed, "answers"))
    algorithm = kind(Task(pool.table.space, pool.alphas, settings(), seed, budget))
    best, best_score, found, rounds = -1, -np.inf, [], 0
    while len(found) < budget:
        candidates = algorithm.ask(generator(seed, "regret", rounds))[: budget - len(found)]
        rounds, scores = rounds + 1, []
        for candidate in candidates:
            number = pool.nearest(candidate, draws)
            scores.append(pool.score(number, draws))
            if scores[-1] > best_score:
                best, best_score = number, scores[-1]
            found.append(pool.means[best])
        algorithm.tell(candidates, scores, len(found) / budget)
    return found


def rows_of(pool: Pool, budget: int, repetitions: int) -> list[dict]:
    """Median and the middle 80 % over the repetitions, for every algorithm and number of evaluations."""
    guided = type("Guided", (Guided,), {"pool": pool})
    rows = []
    for name, kind in (("random", RandomSearch), ("evolution", Evolution), ("controller", Policy), ("guided", guided)):
        curves = np.array([curve(pool, kind, budget, seed) for seed in range(repetitions)])
        low, median, high = np.quantile(curves, (0.1, 0.5, 0.9), axis=0)
        rows += [
            {"algorithm": name, "evaluations": n + 1, "median": round(median[n], 3), "low": round(low[n], 3),
             "high": round(high[n], 3), "mean": round(curves[:, n].mean(), 3), "repetitions": repetitions}
            for n in range(budget)
        ]  # fmt: skip
        print(
            f"{name:10} after {budget}: median {median[-1]:.2f}, middle 80 % {low[-1]:.2f} to {high[-1]:.2f}",
            flush=True,
        )
    return rows


def draw(rows: list[dict], pool: Pool, path: Path) -> None:
    """The curves with their intervals, the pool's best and mean."""
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(row["algorithm"] for row in rows)):
        own = [row for row in rows if row["algorithm"] == name]
        x = [row["evaluations"] for row in own]
        axes.plot(x, [row["median"] for row in own], color=COLOURS[number], lw=1.8, label=name)
        axes.fill_between(
            x, [row["low"] for row in own], [row["high"] for row in own], color=COLOURS[number], alpha=0.13, lw=0
        )
    axes.axhline(max(pool.means), color="black", lw=1, ls="--", label="best of the pool")
    axes.axhline(float(np.mean(pool.means)), color="black", lw=1, ls=":", label="mean of the pool")
    finish(axes, f"Best so far of {len(pool.members)} architectures", "score, mean over seeds")
    axes.set_xlabel("architectures trained", fontsize=9.5)
    save_figure(figure, path, 150)


def drawn(table: Table) -> Table:
    """The random members alone."""
    entries: list[Entry] = [entry for entry in table if entry.name.startswith("random")]
    return Table(table.space, table.metric, table.recipe, tuple(entries), table.constant, table.made_with)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path, default=RESULTS / "pool.json")
    parser.add_argument("--budget", type=int, default=48, help="evaluations of a run")
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--output", type=Path, default=RESULTS / "regret.csv")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    asked = parser.parse_args()
    pool = Pool(drawn(Table.load(asked.pool)))
    rows = rows_of(pool, asked.budget, asked.repetitions)
    draw(rows, pool, asked.figure)
    with asked.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
