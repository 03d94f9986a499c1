"""A full disk, a read that fails, two runs in one folder; ``bench/faults.py`` does them all."""

import json

import pytest

from bench import faults, small_runs


@pytest.fixture(scope="module")
def dealt(tmp_path_factory, small_set):
    return faults.Faults("train", tmp_path_factory.mktemp("faults"), small_set)


def test_a_full_disk_then_room(dealt):
    assert dealt.full_disk(dealt.root / "full", 400_000)["identical"]


def test_a_read_that_fails_while_resuming(dealt):
    half_done = dealt.interrupted(dealt.root / "half")
    found = dealt.read_error(dealt.root / "read", half_done, 1)
    assert found is not None and found["code"] == 2 and found["identical"]
    assert "Input/output error" in small_runs.log_of(dealt.root / "read")


def test_two_runs_in_one_folder(dealt):
    assert dealt.two_runs(dealt.root / "two") == {"fault": "two runs", "code": 2, "identical": True}


def test_a_bench_that_is_stopped_leaves_what_it_has_seen(monkeypatch, tmp_path):
    def stopped(task, root, data, moments, reads, log):
        log({"task": task, "fault": "full disk", "identical": True})
        raise TimeoutError

    monkeypatch.setattr(faults, "deal", stopped)
    monkeypatch.setattr(faults.small_runs, "draw_set", lambda folder: folder)
    monkeypatch.setattr("sys.argv", ["faults", f"--output={tmp_path / 'faults.json'}"])
    with pytest.raises(TimeoutError):
        faults.main()
    found = json.loads((tmp_path / "faults.json").read_text())
    assert (found["faults"], found["identical_after_resume"]) == (1, 1) and found["rows"][0]["task"] == "train"
