"""A front from one supernet: what it scores, what it writes, how it goes on, and what it refuses."""

import csv

import pytest

from autopose.nas.front import Point, front_of
from autopose.space import Architecture, MacroSpace
from autopose.space.builtin import random_architecture
from bench import small_runs

FEW = ("pareto.evaluations=24", "pareto.population=8")


def front(folder, data, checkpoint, *overrides):
    config = small_runs.configured("pareto", f"data.root={data}", f"checkpoint={checkpoint}", *overrides)
    return small_runs.run("pareto", config, folder)


@pytest.fixture(scope="module")
def checkpoint(finished):
    return finished["search"][0] / "checkpoints" / "last.pt"


@pytest.fixture(scope="module")
def done(tmp_path_factory, small_set, checkpoint):
    folder = tmp_path_factory.mktemp("pareto") / "run"
    assert front(folder, small_set, checkpoint, *FEW) == 0, small_runs.log_of(folder)
    return folder


def rows_of(folder):
    with (folder / "pareto.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_front_rises_and_its_files_are_architectures_that_nothing_scored_beats(done, small_set):
    rows = rows_of(done)
    costs, scores = ([float(row[name]) for row in rows] for name in ("cost", "score"))
    assert costs == sorted(costs) and scores == sorted(scores) and len(set(scores)) == len(rows)
    for row in rows:
        assert str(Architecture.load(row["architecture"]).macro) == row["beta"]
    said = next(line for line in small_runs.log_of(done).splitlines() if line.startswith("next"))
    assert f"data.root={small_set} " in said and said.endswith(f"architecture={rows[-1]['architecture']}")
    assert (done / "pareto.png").stat().st_size > 10_000 and len(list((done / "front").iterdir())) == len(rows)


def test_a_longer_run_goes_on_with_what_was_scored_and_other_settings_are_refused(done, small_set, checkpoint):
    before = rows_of(done)
    longer = ("pareto.evaluations=30", "pareto.population=8")
    assert front(done, small_set, checkpoint, *longer) == 2 and "resume=auto to go on" in small_runs.log_of(done)
    assert front(done, small_set, checkpoint, *longer, "pareto.max_gmacs=1", "resume=auto") == 2
    assert "begun with max_gmacs=0.0, now it is 1.0" in small_runs.log_of(done)
    assert front(done, small_set, checkpoint, *longer, "resume=auto") == 0
    assert {row["cost"] for row in rows_of(done)} >= {before[0]["cost"]}


@pytest.mark.parametrize(
    "overrides, message",
    [
        (("pareto.max_gmacs=1e-6",), "lies below the cheapest architecture of the space"),
        (("pareto.latency_table=none.json",), "none.json"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path, small_set, checkpoint, overrides, message):
    assert front(tmp_path / "run", small_set, checkpoint, *FEW, *overrides) == 2
    log = small_runs.log_of(tmp_path / "run")
    assert message in log and "Traceback" not in log


def test_a_point_that_another_one_matches_at_less_cost_is_not_on_the_front():
    architecture = random_architecture(MacroSpace((4, 8), 2, 1, 1, 1, 8), 0)
    points = [
        Point(architecture, "random", score, cost, cost) for score, cost in [(3, 2), (3, 1), (2, 1), (5, 4), (4, 5)]
    ]
    assert [(point.score, point.cost) for point in front_of(points)] == [(3, 1), (5, 4)]
