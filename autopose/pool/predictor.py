"""Scores predicted from architectures, fitted to a pool, and the architecture of a band that is predicted best.

A search by training alone: no weights are shared, so what it predicts is what it was told (White et al., NeurIPS 2021,
compare such predictors). Ridge regression on which branches are on and which operation every edge has is what a few
dozen trainings can carry.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from autopose.errors import UserError
from autopose.space import Architecture, MacroArchitecture
from autopose.space.ops import ordered

# Candidates for the penalty of ridge regression; the one with the least leave-one-out error is taken.
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
LEAST = 8


def encoded(architecture: Architecture, operations: Sequence[str]) -> np.ndarray:
    """(F,) numbers: β, for every edge of every cell the place of its operation, and how often every operation occurs.

    The last let a few dozen scores tell a good operation, of which each edge by itself has seen a handful.
    """
    beta = [float(on) for row in architecture.macro.rows for on in row]
    ops = [op for cells in architecture.cells for name in sorted(cells) for op in cells[name].ops]
    places = [float(op == each) for op in ops for each in operations]
    return np.array(beta + places + [float(ops.count(each)) for each in operations])


@dataclass(frozen=True)
class Predictor:
    """A linear predictor of a score.

    Attributes:
        operations: the candidates of every edge.
        centre, mean: of the encoded architectures (F,) and of the scores that it was fitted to.
        weights: (F,) of the encoded architecture.
        error: root mean square of the leave-one-out errors, in units of the score.
    """

    operations: tuple[str, ...]
    centre: np.ndarray
    mean: float
    weights: np.ndarray
    error: float

    @classmethod
    def fit(
        cls, architectures: Sequence[Architecture], scores: Sequence[float], operations: Sequence[str]
    ) -> "Predictor":
        """Ridge regression, its penalty chosen by the leave-one-out error.

        Raises:
            UserError: fewer than ``LEAST`` architectures.
        """
        if len(scores) < LEAST:
            raise UserError(f"a predictor needs the scores of at least {LEAST} architectures, but has {len(scores)}")
        names = ordered(operations)
        rows, target = np.stack([encoded(each, names) for each in architectures]), np.asarray(scores, float)
        centre, mean = rows.mean(0), target.mean()
        gram = (rows - centre) @ (rows - centre).T
        best = None
        for penalty in PENALTIES:
            inverse = np.linalg.inv(gram + penalty * np.eye(len(target)))
            leverage = np.diag(gram @ inverse) + 1 / len(target)
            left_out = (target - mean - gram @ inverse @ (target - mean)) / (1 - leverage)
            error = float(np.sqrt(np.mean(left_out**2)))
            if best is None or error < best[0]:
                best = error, (rows - centre).T @ inverse @ (target - mean)
        return cls(names, centre, float(mean), best[1], best[0])

    def __call__(self, architecture: Architecture) -> float:
        """The predicted score."""
        return self.mean + float((encoded(architecture, self.operations) - self.centre) @ self.weights)


def neighbours(architecture: Architecture, operations: Sequence[str]) -> Iterator[Architecture]:
    """All that differ in one row of β or in the operation of one edge; cells that are alike stay so."""
    space, rows = architecture.macro_space, architecture.macro.rows
    for place, row in enumerate(rows):
        for other in space.allowed():
            if other != row:
                yield replace(architecture, macro=MacroArchitecture((*rows[:place], other, *rows[place + 1 :])))
    for branch, cells in enumerate(architecture.cells):
        for genotype in dict.fromkeys(cells.values()):
            for edge, op in enumerate(genotype.ops):
                for other in operations:
                    if other != op:
                        ops = (*genotype.ops[:edge], other, *genotype.ops[edge + 1 :])
                        changed = replace(genotype, ops=ops)
                        mine = {name: changed if cell == genotype else cell for name, cell in cells.items()}
                        together = (*architecture.cells[:branch], mine, *architecture.cells[branch + 1 :])
                        yield replace(architecture, cells=together)


def climbed(
    architecture: Architecture, predictor: Predictor, allowed: Callable[[Architecture], bool]
) -> tuple[Architecture, float]:
    """Steepest ascent of the predicted score over allowed neighbours: where none is better, and its score."""
    score = predictor(architecture)
    while True:
        near = [(predictor(each), each) for each in neighbours(architecture, predictor.operations)]
        better = sorted((pair for pair in near if pair[0] > score + 1e-9), key=lambda pair: -pair[0])
        found = next((pair for pair in better if allowed(pair[1])), None)
        if found is None:
            return architecture, score
        score, architecture = found
