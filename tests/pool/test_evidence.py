"""Groups and tests of a pool's members, on scores whose answer is known."""

from dataclasses import replace

import numpy as np

from autopose.pool import Entry, Table
from autopose.space import MacroSpace
from autopose.space.builtin import hrnet, random_architecture
from bench.evidence import BEST, BEST_RANDOM, RANDOM, best_against_random, best_of_four, groups, main, paired, rows_of
from bench.rank import noise, predictors, ranking

SPACE = MacroSpace((4, 8), 2, 1, 1, 1, 4)


def entry(name, seed, scores, band=False, gmacs=0.01):
    architecture = hrnet(SPACE) if name == "hrnet" else random_architecture(SPACE, seed)
    metrics, losses = {n: {"Mean": s} for n, s in enumerate(scores)}, {n: [-s] for n, s in enumerate(scores)}
    return Entry(architecture, name, band, 1.0, gmacs, 10, metrics, losses)


def table():
    draws = np.random.default_rng(0)
    entries = [entry(f"random-{n:04d}", n, [40 + v, 40 + v + e], band=n % 2 == 1, gmacs=0.01 + 1e-4 * n)
               for n, (v, e) in enumerate(draws.normal(0, [3, 0.5], (24, 2)))]  # fmt: skip
    entries += [entry(f"found~bilevel-{n}~architecture.json", 50 + n, [46 + 0.3 * n]) for n in range(4)]
    entries.append(entry("hrnet", 0, [41.0, 41.4, 40.7]))
    return Table(SPACE, "Mean", {}, tuple(entries), {"Mean": 25.0}, {})


def test_searched_networks_are_told_from_random_ones():
    found = groups(table())
    assert {name: len(entries) for name, entries in found.items()} == {
        RANDOM: 12, "random, full range": 12, "searched, bilevel": 4, "hrnet": 1,
    }  # fmt: skip
    # The largest of the band is number 23, so all of the full range are smaller.
    assert {row["what"]: row["networks"] for row in rows_of(table())}["random, up to the band's end"] == 12
    rows = {row["what"]: row for row in rows_of(table())}
    assert float(rows["searched, bilevel"]["p against random, of the band"]) < 0.01
    assert float(rows["searched, bilevel"]["p against hrnet"]) < 0.05
    assert float(rows["hrnet"]["p against random, of the band"]) > 0.05 and rows["hrnet"]["score"].endswith("(n = 3)")
    assert rows["searched, bilevel"]["share of the band's random ones below"] >= 0.9


def test_of_every_four_the_best_first_training_is_told_by_its_second():
    losses = {0: [3.0, 1.0, 2.0, 0.5], 1: [4.0, 1.5], 2: [1.0, 2.0], 4: [1.0, 0.2], 10: [1.0, 0.1]}
    found = [replace(entry(f"found~trials-{n}~architecture.json", 60 + n, [50.0, 44.0 + n]), losses={0: loss})
             for n, loss in losses.items()]  # fmt: skip
    drawn = table().entries
    pool = replace(table(), entries=(*found, *drawn))
    best = best_of_four(pool, None)
    # Of 0, 1, 2 and 4 the last has the least loss at the end; 10 begins a four that is not full.
    assert best[BEST] == {"found~trials-4~architecture.json": 48.0}
    band = [each for each in drawn if each.band]
    for start, score in zip(range(0, 12, 4), best[BEST_RANDOM].values(), strict=True):
        four = band[start : start + 4]
        assert score == max(four, key=lambda each: each.scores[0]["Mean"]).scores[1]["Mean"]
    row = next(row for row in rows_of(pool) if row["what"] == BEST)
    assert row["networks"] == 1 and row["score"].startswith("48.00")
    (line,) = best_against_random(pool)
    assert f"{48 - np.mean([*best[BEST_RANDOM].values()]):+.2f}" in line
    # Without a second training there is nothing to say.
    once = tuple(replace(each, scores={0: each.scores[0]}) for each in pool.entries)
    pool, again = replace(pool, entries=once), pool
    assert best_of_four(pool, None) == {} and not best_against_random(pool)
    # Those may lie in a table of their own.
    assert best_of_four(pool, again) == best


def test_two_choices_of_the_same_searches_are_compared_in_pairs():
    pool = table()
    assert paired(pool) == []
    others = [entry(f"found~bilevel_trials-{n}~architecture.json", 70 + n, [46.5 + 0.3 * n]) for n in (3, 1, 0, 9)]
    (line,) = paired(replace(pool, entries=pool.entries + tuple(others)))
    assert "0.50 ± 0.00" in line and "(n = 3)" in line and line.endswith("paired p = 0.25")


def test_a_ranking_and_its_noise():
    pool = table()
    drawn = Table(pool.space, pool.metric, {}, pool.entries[:24], pool.constant, {})
    exact = ranking(drawn, [e.mean("Mean") for e in drawn])
    assert exact["tau all"].startswith("1.00") and exact["percentile of the best tenth"] > 90
    assert noise(drawn)["deviation between seeds"] < 1 < noise(drawn)["deviation between architectures"]
    assert noise(drawn)["correlation's ceiling"] > 0.9


def test_what_needs_no_supernet_is_ranked_too():
    pool = table()
    entries = [replace(each, losses={0: [1.0, -each.scores[0]["Mean"]]}) for each in pool.entries[:24]]
    found = predictors(Table(pool.space, pool.metric, {}, tuple(entries), pool.constant, {}))
    assert found["tau of -loss after epoch 2"].startswith("1.00") and "tau of active branches" in found
    assert "tau between seeds" not in noise(Table(pool.space, "Mean", {}, (entries[0],) * 2, pool.constant, {}))


def test_the_command_writes_its_table(tmp_path, monkeypatch, capsys):
    pool, output = table(), tmp_path / "e.csv"
    pool.save(tmp_path / "pool_again.json")
    once = tuple(replace(each, scores={0: each.scores[0]}) for each in pool.entries)
    replace(pool, entries=once).save(tmp_path / "pool.json")
    monkeypatch.setattr("sys.argv", ["x", "--pool", str(tmp_path / "pool.json"), "--output", str(output)])
    assert main() == 0
    assert "constant pose: 25.00" in capsys.readouterr().out and "searched, bilevel" in output.read_text()
    assert BEST_RANDOM in output.read_text()  # from second trainings, which lie beside the pool
