"""Tuning without a GPU: what its processes find, one that faults or hangs, and the choice from a table of times."""

import csv
import json
import sys

import pytest

pytest.importorskip("triton")

from bench import tune
from bench.products import PRODUCTS

STAND_IN = """#!{python}
import json, os, sys, time
what, items = sys.argv[4], json.load(sys.stdin)
for item in items:
    columns = item["setting"]["columns"]
    if what == "check" and columns == 128:
        os._exit(7)
    if what == "clock" and item["channels"] == 128:
        time.sleep(60)
    known = {{"status": "right"}} if what == "check" else {{"status": "timed", "ms": columns / 32}}
    print(json.dumps(known), flush=True)
"""


def item(product, columns, channels=16, edges=4):
    return dict(product=product, channels=channels, edges=edges, setting={"columns": columns, "rows": 64})


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    path = tmp_path / "python"
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(path))


def test_a_fault_costs_one_candidate_and_a_table_is_written_as_it_comes(stand_in, tmp_path, monkeypatch):
    listed = [[item(p, c, edges=e) for c in (64, 128, 32)] for p in PRODUCTS for e in (4, 2)]
    monkeypatch.setattr(tune, "cases", lambda rehearse: listed)
    rows = tune.tune(tmp_path / "tune.csv", True, 2, 60)
    with (tmp_path / "tune.csv").open() as file:
        written = [(row["status"], json.loads(row["setting"])["columns"]) for row in csv.DictReader(file)]
    assert written.count(("faulty: exit code 7", 128)) == written.count(("timed", 32)) == len(listed)
    best = tune.best([row for row in rows if row["status"] == "timed"])
    assert {product: setting["columns"] for product, setting in best[16].items()} == dict.fromkeys(PRODUCTS, 32)


def test_what_hangs_ends_in_time_with_what_came_before_it(stand_in):
    rows = []
    tune.in_processes("clock", [item("input", 32), item("input", 64, channels=128)], True, 2, rows.append)
    assert [row["status"] for row in rows] == ["timed", "no time was left"]


def test_columns_are_chosen_for_all_products_and_groups_together():
    times = {("input", 32): 1, ("input", 64): 2, ("forward", 32): 9, ("forward", 64): 2, ("weight", 32): 1}
    times["weight", 64] = 1
    rows = [item(p, c, edges=e) | {"ms": ms} for (p, c), ms in times.items() for e in (4, 2)]
    assert {setting["columns"] for setting in tune.best(rows)[16].values()} == {64}
    assert tune.best([row for row in rows if row["edges"] == 4]) == {}


def test_candidates_nearest_to_the_committed_come_first():
    for settings in tune.cases(rehearse=False):
        own = settings[0]["setting"]
        far = [sum(s["setting"][name] != own[name] for name in own) for s in settings]
        assert far[0] == 0 and far == sorted(far) and far.count(0) == 1 and len(far) > 30
