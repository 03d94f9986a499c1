"""A full disk, a read that fails, two runs in one folder; ``bench/faults.py`` does them all."""

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
