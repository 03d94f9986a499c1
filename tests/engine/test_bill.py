"""The bill of a run: it is near what the run then takes, and nothing is left behind."""

import re
import time

from test_commands import run

from bench.small_runs import SEARCH, SIZE, TRAIN


def seconds(text: str) -> float:
    match = re.search(r"bill +about ([\d.]+) (s|min|h)", text)
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600}[match[2]]


def test_a_bill_is_near_what_a_run_takes_and_writes_nothing(small_set, tmp_path, capsys):
    longer = [*SEARCH, "search.iterations=40", "search.checkpoint_every=0", f"data.root={small_set}"]
    assert run("search", tmp_path / "bill", *longer, "dry_run=true") == 0
    text = capsys.readouterr().out
    expected = seconds(text)
    assert "80 steps of weights and α" in text and "evaluations" in text and "MiB of checkpoints" in text
    assert {path.name for path in (tmp_path / "bill").iterdir()} <= {"log.txt", ".lock"}
    started = time.monotonic()
    assert run("search", tmp_path / "run", *longer) == 0
    took = time.monotonic() - started
    # Beside the bill's own parts a run this small builds, draws and saves for seconds.
    assert expected / 3 < took < 3 * expected + 30
    cost = re.findall(r"cost +(.*)", capsys.readouterr().out)
    steps = next(line for line in cost if line.startswith("steps of weights and α"))
    count, each = re.search(r"\((\d+) of ([\d.e-]+) s\)", steps).groups()
    assert count == "80" and 80 * float(each) < took and "checkpoints (3 are kept)" in cost[-1]
    assert abs(float(re.match(r"[\d.]+", cost[0])[0]) - took) < 0.5 * took


def test_a_training_is_billed_as_well(small_set, tmp_path, capsys):
    options = [*SIZE, *TRAIN, f"data.root={small_set}", "dry_run=true"]
    assert run("train", tmp_path, *options) == 0
    text = capsys.readouterr().out
    assert "evaluations" in text and seconds(text) > 0 and not (tmp_path / "checkpoints").exists()
