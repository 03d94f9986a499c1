"""A run that is killed and resumed ends as the run that never was, bit for bit; ``bench/chaos.py`` does a hundred."""

import json
import os
import random
import resource
import shutil
import signal
import time

import pytest

from autopose.runs.checkpoint import read_checkpoint
from bench import small_runs
from bench.chaos import kill_once

TASKS = ("search", "train")


def newest(folder):
    return max((path.name for path in (folder / "checkpoints").glob("step_*.pt")), default="")


def wait_for_checkpoint(process, folder, before):
    deadline = time.monotonic() + 60
    while newest(folder) <= before:
        assert process.is_alive() and time.monotonic() < deadline, small_runs.log_of(folder)
        time.sleep(0.001)


@pytest.mark.parametrize("task", TASKS)
def test_killed_and_resumed_equals_undisturbed(task, tmp_path, small_set, finished):
    folder, rng, killed = tmp_path / task, random.Random(1), 0
    config = small_runs.composed(task, small_set, "resume=auto")
    for attempt in range(3):
        before = newest(folder)
        process = small_runs.start(task, config, folder)
        wait_for_checkpoint(process, folder, before)
        killed += kill_once(process, folder, rng.uniform(0, 0.3), aimed=attempt == 1) is not None
    assert killed == 3
    assert small_runs.run(task, config, folder) == 0
    assert small_runs.log_of(folder).count("resuming from") >= 3
    different = small_runs.differences(finished[task][1], small_runs.outcome(folder))
    assert different == [], small_runs.parting(finished[task][0], folder)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_crops_cut_on_the_device_resume_as_exactly(task, tmp_path, small_set, finished):
    """Undisturbed and killed once; losses are those of crops cut by workers, but for the targets' rounding."""
    config = small_runs.composed(task, small_set, "resume=auto", "data.crops=device")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert small_runs.run(task, config, whole) == 0
    process = small_runs.start(task, config, killed)
    wait_for_checkpoint(process, killed, "")
    assert kill_once(process, killed, 0.05, aimed=False) is not None
    assert small_runs.run(task, config, killed) == 0
    assert small_runs.log_of(killed).count("resuming from") == 1
    assert small_runs.differences(small_runs.outcome(whole), small_runs.outcome(killed)) == []
    ours, workers = (json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
                     for folder in (whole, finished[task][0]))  # fmt: skip
    losses = [key for key in ours if "loss" in key]
    assert losses and all(ours[key] == pytest.approx(workers[key], rel=1e-3) for key in losses)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_signal_saves_and_ends_with_the_conventional_code(task, number, tmp_path, small_set, finished):
    folder = tmp_path / task
    config = small_runs.composed(task, small_set, "resume=auto", f"{task}.checkpoint_every=0")
    process = small_runs.start(task, config, folder)
    deadline = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists():
        assert process.is_alive() and time.monotonic() < deadline, small_runs.log_of(folder)
        time.sleep(0.001)
    os.kill(process.pid, number)
    assert small_runs.wait(process) == 128 + number
    assert f"stopped by {number.name}" in small_runs.log_of(folder)
    assert "Traceback" not in small_runs.log_of(folder)
    assert read_checkpoint(folder / "checkpoints" / "last.pt", task)["step"] > 0
    if number == signal.SIGTERM:
        assert small_runs.run(task, config, folder) == 0
        assert small_runs.differences(finished[task][1], small_runs.outcome(folder)) == []


def copy_of(finished, task, tmp_path):
    folder = tmp_path / task
    shutil.copytree(finished[task][0], folder)
    return folder


def test_a_torn_newest_file_is_passed_over(tmp_path, small_set, finished):
    folder = copy_of(finished, "search", tmp_path)
    newest = max((folder / "checkpoints").glob("step_*.pt"))
    newest.write_bytes(newest.read_bytes()[: 3 * 4096])
    (folder / "checkpoints" / "last.pt").unlink()
    assert small_runs.run("search", small_runs.composed("search", small_set, "resume=auto"), folder) == 0
    assert "passed over" in small_runs.log_of(folder)
    assert small_runs.differences(finished["search"][1], small_runs.outcome(folder)) == []


def test_a_half_written_last_line_leaves_no_trace(tmp_path, small_set, finished):
    folder = copy_of(finished, "search", tmp_path)
    for path in sorted((folder / "checkpoints").glob("*.pt"))[1:]:
        path.unlink()
    metrics = folder / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole[: len(whole) - 100])
    assert small_runs.run("search", small_runs.composed("search", small_set, "resume=auto"), folder) == 0
    assert metrics.read_text() == whole
    assert [json.loads(line)["epoch"] for line in whole.splitlines()] == [0, 1]


@pytest.mark.parametrize(
    ("task", "overrides", "expected"),
    [
        ("search", ["seed=1", "search.alpha_lr=1.0"], "search.alpha_lr, seed"),
        ("train", ["architecture=all_on_conv3"], "another architecture"),
        ("train", ["train.lr=0.5"], "train.lr"),
        ("search", ["resume=no"], "resume=auto"),
    ],
)
def test_another_run_is_refused_in_one_sentence(task, overrides, expected, tmp_path, small_set, finished):
    folder = copy_of(finished, task, tmp_path)
    config = small_runs.composed(task, small_set, "resume=auto", *overrides)
    assert small_runs.run(task, config, folder) == 2
    errors = [line for line in small_runs.log_of(folder).splitlines() if "error" in line]
    assert len(errors) == 1 and errors[0].startswith("error: ") and expected in errors[0]
    assert "Traceback" not in small_runs.log_of(folder)


def test_training_in_the_folder_of_a_search_is_refused(tmp_path, small_set, finished):
    folder = copy_of(finished, "search", tmp_path)
    assert small_runs.run("train", small_runs.composed("train", small_set, "resume=auto"), folder) == 2
    assert "written by search" in small_runs.log_of(folder)


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (300 * 1024, resource.RLIM_INFINITY))


def test_a_run_whose_disk_takes_no_checkpoint_goes_on(tmp_path, small_set, finished):
    folder = tmp_path / "search"
    assert small_runs.run("search", small_runs.composed("search", small_set), folder, limit_file_size) == 0
    assert "the last good one stays" in small_runs.log_of(folder)
    assert not list(folder.glob("checkpoints/*.partial"))
    for name in ("architecture.json", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (finished["search"][0] / name).read_bytes()
