"""What a refused command leaves: nothing of its own, and everything that is not its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import autopose
from autopose import command
from autopose.runs.lock import RunLock

ROOT = Path(autopose.__file__).resolve().parent.parent


def test_a_refused_command_leaves_no_folder_behind(tmp_path):
    (tmp_path / "outputs").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "autopose.predict"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2 and "predict needs checkpoint=PATH" in done.stderr
    assert list(tmp_path.rglob("*")) == [tmp_path / "outputs"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """As Hydra and the start of a run leave it."""
    folder = tmp_path / "outputs" / "train"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").touch()
    (folder / "log.txt").touch()
    monkeypatch.setattr(command, "made", [folder, folder.parent])
    return folder


def test_folders_go_up_to_the_first_that_was_there(folder, tmp_path):
    command.remove_made()
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["log.txt", "metrics.jsonl"])
def test_what_has_something_to_tell_stays(folder, name):
    (folder / name).write_text("a line\n")
    command.remove_made()
    assert (folder / name).read_text() == "a line\n" and (folder / ".hydra" / "config.yaml").exists()


def test_a_folder_that_was_there_or_that_another_run_holds_stays(folder, monkeypatch):
    lock = RunLock(folder)
    command.remove_made()
    assert (folder / ".hydra" / "config.yaml").exists()
    lock.release()
    monkeypatch.setattr(command, "made", [])
    command.remove_made()
    assert (folder / ".hydra" / "config.yaml").exists()
