"""The table of a pool, read back and damaged."""

import json

import pytest

from autopose.errors import UserError
from autopose.pool import Entry, Table
from autopose.space import MacroSpace
from autopose.space.builtin import hrnet, random_architecture

SPACE = MacroSpace((8, 16), 2, 1, 2, 1, 8)


def table() -> Table:
    drawn = [random_architecture(SPACE, seed) for seed in range(3)]
    entries = [Entry(a, f"random-{n}", n == 1, 1.0, 0.01 * n, 100, {0: {"Mean": 40.0 + n}}, {0: [0.1, 0.05]})
               for n, a in enumerate(drawn)]  # fmt: skip
    wide = Entry(hrnet(SPACE), "hrnet@0.02", False, 1.5, 0.02, 300, {0: {"Mean": 50.0}, 1: {"Mean": 52.0}}, {0: []})
    return Table(SPACE, "Mean", {"train.epochs": 2}, (*entries, wide), {"Mean": 24.0}, {"cpu": "any"})


def test_a_table_comes_back_and_answers_for_its_architectures_alone(tmp_path):
    table().save(tmp_path / "pool.json")
    found = Table.load(tmp_path / "pool.json")
    assert found.recipe == {"train.epochs": 2} and found.constant == {"Mean": 24.0} and len(found) == 4
    assert found.query(random_architecture(SPACE, 1)).scores == {0: {"Mean": 41.0}}
    assert found.query(random_architecture(SPACE, 7)) is None
    assert found.query(hrnet(SPACE)) is None and found.query(hrnet(SPACE), 1.5).mean("Mean") == 51.0
    assert [entry.band for entry in found] == [False, True, False, False]


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: text[:-40], "was cut short"),
        (lambda text: text.replace('"version": 1', '"version": 9'), "no pool's table of version 1"),
        (lambda text: text.replace('"individual_1":"', '"individual_1":"z'), "cannot be used as a pool's table"),
        (lambda text: json.dumps([text]), "no pool's table of version 1"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, damage, message):
    path = tmp_path / "pool.json"
    table().save(path)
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=message):
        Table.load(path)
