"""A predictor of scores on a score whose law is known, and the members that a pool proposes by it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau

from autopose.config import Config, DataConfig, PoolConfig, SpaceConfig
from autopose.errors import UserError
from autopose.pool.plan import Plan
from autopose.pool.predictor import Predictor, climbed, encoded, neighbours
from autopose.pool.worker import Worker
from autopose.space import MacroSpace
from autopose.space.builtin import Size, random_architecture
from autopose.space.ops import OPS

SPACE = MacroSpace((4, 8), 2, 1, 1, 1, 8)
BAND = (0.0003, 0.0005)


def law(architecture):
    """Adds over branches and operations, as the predictor supposes."""
    code = encoded(architecture, OPS)
    return 40 + float(code @ np.random.default_rng(3).normal(0, 1, len(code)))


def test_an_additive_score_is_learned_and_its_error_is_that_of_leaving_one_out():
    drawn = [random_architecture(SPACE, seed) for seed in range(160)]
    scores = [law(each) for each in drawn]
    predictor = Predictor.fit(drawn[:100], scores[:100], OPS)
    assert kendalltau([predictor(each) for each in drawn[100:]], scores[100:])[0] > 0.9

    left_out = [Predictor.fit(drawn[:n] + drawn[n + 1 : 30], scores[:n] + scores[n + 1 : 30], OPS)(drawn[n]) - scores[n]
                for n in range(30)]  # fmt: skip
    assert Predictor.fit(drawn[:30], scores[:30], OPS).error == pytest.approx(np.std(left_out), rel=0.25)


def test_climbing_ends_where_no_allowed_neighbour_is_better():
    predictor = Predictor.fit([random_architecture(SPACE, n) for n in range(60)],
                              [law(random_architecture(SPACE, n)) for n in range(60)], OPS)  # fmt: skip
    size = Size([32, 32], 17)
    start = random_architecture(SPACE, 7, OPS, BAND, size)

    def within(architecture):
        return BAND[0] <= size.gmacs(architecture) <= BAND[1]

    best, score = climbed(start, predictor, within)
    assert within(best) and score == predictor(best) > predictor(start)
    assert all(predictor(each) <= score + 1e-9 for each in neighbours(best, predictor.operations) if within(each))
    assert all(cells["individual_1"] == cells["individual_2"] for cells in best.cells)


def plan(**settings):
    space = SpaceConfig(channels=(4, 8), num_stages=2, modules_per_stage=1, nodes_individual=1, nodes_aggregation=1,
                        stem_channels=8)  # fmt: skip
    given = PoolConfig(**{"architectures": 40, "repeated": 1, "band": list(BAND), "proposed": 3, **settings})
    config = Config(space=space, data=DataConfig(image_size=[32, 32]), pool=given)
    return Plan(replace(config, train=replace(config.train, width=1)), 17)


def test_a_pool_proposes_when_all_are_trained_and_again_the_same():
    class Ledger:
        """Trains by the law, in memory."""

        def __init__(self):
            self.planned, self.done, self.recipe, self.defaults = [], {}, {}, {}

        def plan(self, trainings):
            self.planned = list(trainings)

        def work(self, train, failures):
            waiting = [training for training in self.planned if training not in self.done]
            if waiting:
                self.done[waiting[0]] = train(*waiting[0])[1]
            return bool(waiting)

        def results(self):
            return self.done

        unfinished = failed = workers = seconds = lambda self: {}

    def run(pool, ledger):
        worker = Worker(pool.config, None, pool, ledger, None)
        worker._say = lambda: None
        worker._train = lambda name, seed: (0, {"metric": "m", "scores": {"m": law(pool.members[name].architecture)}})
        worker.run()
        return worker

    pool, ledger = plan(), Ledger()
    run(pool, ledger)
    proposed = {name: member for name, member in pool.members.items() if name.startswith("predicted-40-")}
    assert len(proposed) == 3 and all(BAND[0] <= pool.gmacs(member) <= BAND[1] for member in proposed.values())
    drawn = [law(member.architecture) for member in pool.drawn if member.band]
    assert min(law(member.architecture) for member in proposed.values()) > np.quantile(drawn, 0.9)
    assert all(member.architecture.found_by["predictor"]["fitted to"] == 20 for member in proposed.values())

    again = plan()
    run(again, ledger)
    assert again.members == pool.members and len(ledger.done) == 40 + 1 + 2 * 3


def test_too_few_scores_are_refused():
    with pytest.raises(UserError, match="at least 8 architectures, but has 5"):
        plan(architectures=10).propose({f"random-{n:04d}": 1.0 for n in range(10)})
