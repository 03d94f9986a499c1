"""``bench.trials``: what it says of a table whose answer is known, and that it goes on with what lacks."""

from dataclasses import replace

import numpy as np
import pytest

from autopose.pool import Entry, Table
from bench import trials


def entries(count: int = 24) -> list[Entry]:
    """Of which number n scores n."""
    return [Entry(None, f"random-{n:04d}", n % 2 == 0, 1, 0.01, 100, {0: {"Mean": float(n)}}, {}) for n in range(count)]


def rows(members, loss) -> list[dict]:
    return [
        {"architecture": each.name, "repeat": repeat, **{f"loss_{steps}": loss(n, repeat) for steps in trials.STEPS}}
        for n, each in enumerate(members)
        for repeat in range(2)
    ]


def test_losses_that_tell_the_score_choose_the_best():
    members = entries()
    lines = list(trials.report(members, "Mean", rows(members, lambda n, repeat: -float(n))))
    assert len(lines) == len(trials.STEPS) * (1 + len([c for c in trials.CHOICES if c < 12]))
    assert "tau of one trial 1.00, of the mean of 2 1.00" in lines[0]
    # Of 8 of the 12 even numbers up to 22, the largest: 22 - 2 * (12 - 8) / 9 on average.
    chosen = next(line for line in lines if line.startswith("of  8"))
    assert float(chosen.split(": ")[1].split(" ")[0]) == pytest.approx(22 - 8 / 9, abs=0.1)


def test_losses_that_tell_nothing_choose_as_chance():
    members, draws = entries(), np.random.default_rng(0)
    lines = list(trials.report(members, "Mean", rows(members, lambda n, repeat: draws.random())))
    mean = float(lines[-1].split("all of them ")[1])
    assert mean == 11.0 and abs(float(lines[0].split("of the mean of 2 ")[1].split(" ")[0])) < 0.45


def test_a_repeat_counts_when_it_is_complete():
    members = entries(4)
    known = rows(members, lambda n, repeat: 1.0 + n + repeat)
    assert trials.means(members, known, trials.STEPS[0]).shape == (4, 2)
    assert trials.means(members, known[:-1], trials.STEPS[0]).shape == (4, 1)
    assert list(trials.report(members, "Mean", known[:3])) == ["no repeat is complete yet"]


def test_it_measures_what_lacks(small_set, tmp_path, monkeypatch):
    table = Table.load(trials.RESULTS / "pool.json")
    members, made = [entry for entry in table if entry.name.startswith("random")][:2], []

    class Told:
        def __init__(self, *_):
            pass

        def losses(self, architecture, repeat):
            made.append(repeat)
            return [float(n) for n in range(trials.STEPS[-1])]

    monkeypatch.setattr(trials, "Trials", Told)
    monkeypatch.setattr(trials, "load_annotations", lambda *_: None)
    monkeypatch.setattr(trials, "pose_dataset", lambda *_, **__: None)
    path = tmp_path / "trials.csv"
    trials.measure(members, 1, None, path)
    trials.measure(members, 2, None, path)
    assert made == [0, 0, 1, 1] and len(trials.read(path)) == 4
    assert trials.means(members, trials.read(path), 20).tolist() == [[9.5, 9.5]] * 2


def test_groups_stand_beside_one_another():
    first = [replace(each, name=f"found~bilevel-{n}~architecture.json") for n, each in enumerate(entries(2))]
    members = [*first, *entries(6)[2:]]
    table = Table(None, "Mean", {}, tuple(members), {}, {})
    lines = list(trials.grouped(table, rows(members, lambda n, repeat: 1e-3 * (n + repeat))))
    searched = next(line for line in lines if line.startswith("searched, bilevel"))
    assert "2 networks: first 40 steps 1.00 ± 0.71" in searched and searched.endswith("Mean 0.5") and len(lines) == 3
