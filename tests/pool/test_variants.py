"""The summary of searches that differ in one thing, on scores whose answer is known."""

import numpy as np
import pytest

from autopose.config import composed
from bench import variants


@pytest.fixture
def folder(tmp_path, monkeypatch):
    draws, asked = np.random.default_rng(0), []

    def measured(variant, switches, seed, out, root):
        asked.append((variant, seed))
        score = 40 + 2 * [*variants.SETS["table4"]].index(variant) + draws.normal(0, 0.3)
        return {"variant": variant, "seed": seed, "beta": "111", "gmacs": 0.01, "PCK": score, "AP": 0.1}

    monkeypatch.setattr(variants, "measured", measured)
    return tmp_path, asked


def test_what_stands_is_not_run_again_and_the_order_is_tested(folder, capsys):
    path, asked = folder
    assert variants.main(["table4", "--seeds", "2", "--results", str(path)]) == 0 and len(asked) == 8
    assert (
        variants.main(["table4", "--seeds", "6", "--results", str(path)]) == 0 and len(set(asked)) == len(asked) == 24
    )
    assert variants.main(["table4", "--report", "--results", str(path)]) == 0 and len(asked) == 24
    lines = capsys.readouterr().out.strip().splitlines()
    assert float(lines[-1].rpartition("p = ")[2]) < 0.001 and "6 seeds" in lines[-1]
    whole = next(line for line in lines[::-1] if line.startswith("| whole search"))
    assert "(n = 6)" in whole and whole.endswith("|  |")
    other = next(line for line in lines[::-1] if line.startswith("| single scale"))
    assert float(other.split("|")[-2]) == pytest.approx(3 * 2 / 2**6, rel=0.01)  # Holm over three of the least p


def test_a_set_with_few_rows_says_what_it_has(tmp_path, capsys):
    variants.append(tmp_path / "variants_remedies.csv", {"variant": variants.WHOLE, "seed": 0, "gmacs": 1, "PCK": 50})
    assert variants.main(["remedies", "--report", "--results", str(tmp_path)]) == 0
    assert "whole search | 50.00 (n = 1)" in capsys.readouterr().out


def test_every_variant_is_a_search_and_a_training():
    for switches in (switches for of in variants.SETS.values() for switches in of.values()):
        assert composed("search", "experiment=pool_bilevel", *switches).name == "pool_bilevel"
    for variant, recipe in variants.TRAINED.items():
        assert variant in variants.SETS["remedies"] and composed("train", "experiment=pool", *recipe).name == "pool"
