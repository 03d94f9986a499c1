"""Does the supernet's score tell good networks from bad ones? Scores beside the same networks trained alone."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from math import nan

from scipy.stats import kendalltau

from autopose.config import Config
from autopose.engine.search import SearchRun
from autopose.engine.train import TrainRun
from autopose.evaluation.scoring import Score
from autopose.nas import cells_of
from autopose.nas.algorithms import Candidate, random_candidate
from autopose.nas.randomness import generator
from autopose.runs.runtime import Runtime
from autopose.space import Architecture

logger = logging.getLogger("autopose")


def sample(search: SearchRun, count: int, seed: int) -> list[Candidate]:
    """Architectures drawn uniformly from the space, β and every operation."""
    draws = generator(seed, "correlate")
    macro, alphas = search.bilevel.network.space.macro, search.bilevel.alphas
    return [random_candidate(macro, alphas, draws) for _ in range(count)]


def train_alone(config: Config, runtime: Runtime, architecture: Architecture, name: str, epochs: int) -> list[Score]:
    """Train one network from scratch in a folder of its own; learning rate x0.1 at four fifths of the epochs.

    With ``resume=auto`` it continues where it was, and a finished one is only evaluated again.
    """
    schedule = replace(config.train, epochs=epochs, milestones=[max(1, round(0.8 * epochs))], evaluate_every=0)
    folder = runtime.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return TrainRun(replace(config, train=schedule), replace(runtime, folder=folder), architecture).run()


def headline(scores: Sequence[Score], metric: str) -> tuple[str, float]:
    """PCK of a network where the search rewarded PCK, else AP (COCO) or the mean PCKh (MPII)."""
    pck = [score.metrics["Mean"] for score in scores if "Mean" in score.metrics]
    if metric == "pck" and pck:
        return "PCK in %", pck[0]
    return ("AP", scores[0].metrics["AP"]) if "AP" in scores[0].metrics else ("mean PCKh in %", pck[0])


def correlate(search: SearchRun, config: Config, runtime: Runtime) -> dict:
    """Score and train a seeded sample; Kendall τ-b between both orders (NaN where one of them is constant)."""
    settings, rows = config.correlate, []
    config = replace(config, train=replace(config.train, width=settings.width))
    for number, candidate in enumerate(sample(search, settings.architectures, config.seed)):
        score = search.reward.score(candidate.beta, candidate.ops, penalised=False)
        cells = cells_of(search.bilevel.alphas, candidate.ops)
        drawn = {"algorithm": "uniform", "seed": config.seed, "number": number}
        architecture = Architecture(search.bilevel.network.space.macro, candidate.beta, cells, drawn)
        scores = train_alone(config, runtime, architecture, f"architectures/{number:03d}", settings.epochs)
        name, alone = headline(scores, config.search.reward.metric)
        rows.append({"beta": str(candidate.beta), "supernet": score, "alone": float(alone)})
        logger.info("%3d/%d  %s  supernet %.4f  alone %s %.4f", number + 1, settings.architectures, candidate.beta,
                    score, name, alone)  # fmt: skip
    found = kendalltau([row["supernet"] for row in rows], [row["alone"] for row in rows])
    tau, p_value = (float(value) for value in (found.statistic, found.pvalue))
    return {"kendall_tau": tau if tau == tau else nan, "p_value": p_value, "metric": name, "epochs": settings.epochs,
            "seed": config.seed, "rows": rows}  # fmt: skip
