"""Search algorithms on a table whose best member is known."""

import random

import numpy as np

from autopose.nas.algorithms import Candidate
from autopose.pool import Entry, Table
from autopose.space import MacroSpace
from autopose.space.builtin import random_architecture
from autopose.space.ops import OPS
from bench.regret import Pool, draw, main, rows_of

SPACE = MacroSpace((4, 8), 2, 1, 1, 1, 8)


def table():
    entries = []
    for number in range(30):
        architecture = random_architecture(SPACE, number)
        score = 40.0 + 3 * sum(map(sum, architecture.macro.rows)) + 0.01 * number
        entries.append(Entry(architecture, f"random-{number:04d}", False, 1.0, 0.01, 10, {0: {"Mean": score}}, {}))
    return Table(SPACE, "Mean", {"space.operations": list(OPS)}, tuple(entries), {"Mean": 25.0}, {})


def test_a_member_is_its_own_answer_and_a_beta_alone_is_answered_by_any_of_it():
    pool = Pool(table())
    draws = random.Random(0)
    assert [pool.nearest(pool.candidate(n), draws) for n in range(30)] == list(range(30))
    beta = pool.members[3].architecture.macro
    alike = {n for n, member in enumerate(pool.members) if member.architecture.macro == beta}
    assert {pool.nearest(Candidate(beta), draws) for _ in range(200)} == alike


def test_curves_rise_and_what_learns_ends_above_chance(tmp_path):
    pool = Pool(table())
    rows = rows_of(pool, 24, 8)
    of = {
        name: [row for row in rows if row["algorithm"] == name]
        for name in ("random", "evolution", "controller", "guided")
    }
    for own in of.values():
        assert [row["evaluations"] for row in own] == list(range(1, 25))
        assert np.all(np.diff([row["mean"] for row in own]) >= 0)  # no noise here: the best so far never falls
    assert of["guided"][-1]["mean"] >= of["random"][-1]["mean"] and of["guided"][-1]["low"] >= max(pool.means) - 3
    draw(rows, pool, tmp_path / "regret.png")
    assert (tmp_path / "regret.png").stat().st_size > 10_000


def test_the_command_writes_its_table(tmp_path, monkeypatch):
    table().save(tmp_path / "pool.json")
    words = ["x", "--pool", str(tmp_path / "pool.json"), "--output", str(tmp_path / "r.csv"), "--budget", "6",
             "--repetitions", "2", "--figure", str(tmp_path / "r.png")]  # fmt: skip
    monkeypatch.setattr("sys.argv", words)
    assert main() == 0
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 1 + 4 * 6
