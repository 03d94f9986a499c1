"""Kendall τ between the supernet's scores and networks trained alone."""

import json

import pytest

from autopose.engine.correlation import headline
from autopose.evaluation.scoring import Score
from autopose.report.curves import draw_correlation
from bench import small_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_set, finished):
    folder = tmp_path_factory.mktemp("correlate") / "run"
    checkpoint = finished["search"][0] / "checkpoints" / "last.pt"
    config = small_runs.composed("correlate", small_set, f"checkpoint={checkpoint}", "resume=auto")
    assert small_runs.run("correlate", config, folder) == 0, small_runs.log_of(folder)
    return folder, config


def test_every_architecture_is_scored_and_trained(folder):
    found = json.loads((folder[0] / "correlation.json").read_text())
    rows = found["rows"]
    assert len(rows) == len(list((folder[0] / "architectures").iterdir())) == 3
    assert len({row["supernet"] for row in rows}) == 3
    assert (folder[0] / "correlation.png").stat().st_size > 10_000
    assert "Kendall τ" in small_runs.log_of(folder[0])


@pytest.mark.parametrize(
    ("rewarded", "columns", "expected"),
    [
        ("pck", [{"AP": 0.5}, {"Mean": 60.0}], ("PCK in %", 60.0)),
        ("ap", [{"AP": 0.5}, {"Mean": 60.0}], ("AP", 0.5)),
        ("negative_loss", [{"Mean": 60.0}], ("mean PCKh in %", 60.0)),
    ],
)
def test_a_score_in_percent_is_called_so_beside_the_supernets_fraction(rewarded, columns, expected):
    scores = [Score(metrics, {}, {}, ()) for metrics in columns]
    assert headline(scores, rewarded) == expected


def test_it_resumes_to_the_same_figures(folder):
    before = (folder[0] / "correlation.json").read_text()
    assert small_runs.run("correlate", folder[1], folder[0]) == 0
    assert (folder[0] / "correlation.json").read_text() == before


def test_a_constant_order_is_drawn_too(tmp_path):
    draw_correlation([0.0, 0.0], [0.1, 0.2], float("nan"), ("a", "b"), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
