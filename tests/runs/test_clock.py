"""Seconds by phase."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from autopose.runs.clock import Clock


def test_inner_phases_are_not_counted_twice():
    clock = Clock()
    with clock.phase("outer"):
        time.sleep(0.02)
        with clock.phase("inner"):
            time.sleep(0.05)
    assert clock.seconds["inner"] >= 0.05
    assert 0.02 <= clock.seconds["outer"] < 0.05
    report = clock.report()
    assert sum(report["phases"].values()) == pytest.approx(report["seconds"], rel=0.05)
    assert report["peak_memory"] > 2**20


def test_waiting_counts_what_the_items_take_and_not_what_is_done_with_them():
    def slow():
        for n in range(3):
            time.sleep(0.02)
            yield n

    clock = Clock()
    for _ in clock.waiting(slow()):
        time.sleep(0.05)
    assert 0.06 <= clock.seconds["data"] < 0.15


def test_a_system_that_does_not_tell_its_memory_has_none(monkeypatch):
    monkeypatch.setattr("autopose.runs.clock.resource", None)
    monkeypatch.setattr("autopose.runs.clock.STATUS", Path("/nowhere"))
    assert Clock().report()["peak_memory"] is None


def test_a_run_that_waits_for_data_says_so_once():
    clock = Clock()
    clock.seconds = {"data": 9.0, "steps": 1.0}
    assert clock.waits("steps", 0) == ""  # too soon to judge
    clock.seconds = {"data": 5.0, "steps": 95.0}
    assert clock.waits("steps", 0) == ""
    clock.seconds = {"data": 40.0, "steps": 60.0}
    assert clock.waits("steps", 3).startswith("waiting for data takes 40% of the steps' time: data.workers=6 loads")
    assert clock.waits("steps", 3) == ""


def test_data_that_come_while_the_gpu_is_busy_were_not_waited_for(monkeypatch):
    class Event:
        def __init__(self, done):
            self.query = lambda: done

    def slow():
        for n in range(4):
            time.sleep(0.02)
            yield n

    events = iter([Event(False), Event(True), Event(False), Event(True), Event(True)])
    monkeypatch.setattr("autopose.runs.clock._launched", lambda: next(events))
    clock = Clock()
    assert list(clock.waiting(slow(), steps="steps")) == [0, 1, 2, 3]
    assert clock.seconds["data"] == pytest.approx(0.04, abs=0.015)
    assert clock.seconds["steps"] == pytest.approx(0.04, abs=0.015)
    assert "steps" not in clock.counts


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_what_the_starting_process_held_does_not_count():
    """ru_maxrss of a process that a large one started begins with that one's."""
    ballast = bytearray(600 * 2**20)
    ballast[:: 2**12] = b"x" * len(ballast[:: 2**12])
    code = "from autopose.runs.clock import peak_memory; print(peak_memory())"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 20 * 2**20 < int(shown) < 600 * 2**20
