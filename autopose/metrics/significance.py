"""What differences and rank correlations of a few seeds are worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np
from scipy import stats

RESAMPLES = 5000
# Pairs up to which all signs are tried.
EXACT = 14


@dataclass(frozen=True)
class Sample:
    """Scores over seeds.

    Attributes:
        mean, deviation: the latter of the sample (n - 1), NaN for one seed.
        low, high: 95 % interval of the mean, by the bootstrap; NaN for fewer than three seeds.
        count: of seeds.
    """

    mean: float
    deviation: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if self.count < 3:
            return f"{self.mean:.2f} (n = {self.count})"
        return f"{self.mean:.2f} ± {self.deviation:.2f} [{self.low:.2f}, {self.high:.2f}] (n = {self.count})"


def summarise(scores: Sequence[float], seed: int = 0) -> Sample:
    """Mean, deviation and interval of scores, one a seed.

    Raises:
        ValueError: no score.
    """
    values = np.asarray(scores, float)
    if not len(values):
        raise ValueError("a sample needs at least one score")
    deviation = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    low, high = interval(lambda rows: float(values[rows].mean()), len(values), seed)
    return Sample(float(values.mean()), deviation, low, high, len(values))


def interval(of: Callable[[np.ndarray], float], count: int, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic of ``count`` rows; (NaN, NaN) for fewer than three."""
    if count < 3:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed)
    found = np.array([of(draws.integers(0, count, count)) for _ in range(RESAMPLES)])
    found = found[np.isfinite(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def difference(first: Sequence[float], second: Sequence[float], paired: bool) -> float:
    """p of the hypothesis that both have the same mean, against either being larger.

    Args:
        first, second: scores, one a seed.
        paired: the n-th scores share a seed (paired permutation test of the sum of differences); else Welch's t-test.

    NaN for fewer than two scores of either, or paired ones of different number.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    if min(len(a), len(b)) < 2 or (paired and len(a) != len(b)):
        return float("nan")
    if not paired:
        return float(stats.ttest_ind(a, b, equal_var=False).pvalue)
    gaps = a - b
    if len(gaps) <= EXACT:
        signs = np.array(list(product((-1.0, 1.0), repeat=len(gaps))))
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), (RESAMPLES, len(gaps)))
    # A hair less than what was seen, because the sum of the same terms may round otherwise.
    return float(np.mean(np.abs(signs @ gaps) >= abs(gaps.sum()) * (1 - 1e-12)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for how many are looked at (Holm's step-down method), in the given order."""
    order = np.argsort(p_values)
    found, most = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, (len(p_values) - place) * p_values[index]))
        found[index] = most
    return found


@dataclass(frozen=True)
class Tau:
    """Kendall's τ-b, its 95 % bootstrap interval over the pairs' members, and their number."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] (n = {self.count})"


def kendall(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Tau:
    """How alike two scores order the same things; NaN where one of them is constant."""
    signs = [np.sign(np.subtract.outer(values, values)) for values in map(np.asarray, (first, second))]
    count, alike = len(signs[0]), signs[0] * signs[1]

    def tau(rows: np.ndarray) -> float:
        """τ-b of the rows, some of them several times, from the order of every pair."""
        times = np.bincount(rows, minlength=count)
        untied = [times @ np.abs(sign) @ times for sign in signs]
        return float(times @ alike @ times / sqrt(untied[0] * untied[1])) if all(untied) else float("nan")

    low, high = interval(tau, count, seed)
    return Tau(tau(np.arange(count)), low, high, count)


def ceiling(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson correlation that a perfect predictor would reach against one training's score.

    Args:
        first, second: scores of the same architectures with two seeds: their correlation is the reliability r of one
            training, and sqrt(r) the ceiling (Spearman's attenuation).
    """
    return sqrt(max(float(np.corrcoef(first, second)[0, 1]), 0.0))
