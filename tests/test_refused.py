"""What a refused command leaves: nothing of its own, and everything that is not its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import autopose
from autopose import command
from autopose.errors import UserError
from autopose.runs.earlier import EarlierRun
from autopose.runs.lock import FILE, RunLock

ROOT = Path(autopose.__file__).resolve().parent.parent


def refused(folder: Path, *words: str) -> str:
    """What ``autopose.predict`` of these words says, in this folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "autopose.predict", *words]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 2
    return done.stderr


def test_a_refused_command_leaves_no_folder_behind(tmp_path):
    (tmp_path / "outputs").mkdir()
    assert "predict needs checkpoint=PATH" in refused(tmp_path)
    assert list(tmp_path.rglob("*")) == [tmp_path / "outputs"]


@pytest.fixture
def run(tmp_path) -> Path:
    """A folder with what an earlier run left."""
    folder = tmp_path / "run" / "0"
    for name in (".hydra/config.yaml", ".hydra/overrides.yaml", "log.txt", "checkpoints/last.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of the earlier run\n")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (FILE, "hydra.yaml"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("words", [["predict.threshold=-1"], [], ["checkpoint=last.pt", "source=nowhere"]])
def test_a_refused_command_changes_nothing_of_a_run_that_is_there(words, run):
    before = content(run)
    refused(run.parent, *words, "hydra.run.dir=0")
    assert content(run) == before


def test_nor_of_one_that_goes_on(run):
    before, lock = content(run), RunLock(run)
    assert "is in use by process" in refused(run.parent, "hydra.run.dir=0")
    assert content(run) == before
    lock.release()


def test_nor_does_a_sweep_whose_runs_are_refused(run):
    before = content(run)
    refused(run.parent, "--multirun", "hydra.sweep.dir=.", "predict.threshold=0.1,0.2")
    assert content(run) == before and (run.parent / "1" / ".hydra" / "config.yaml").exists()


def test_lines_of_a_refused_function_do_not_stay_in_the_log(run, monkeypatch):
    before = content(run)

    def refuse(*_):
        (run / "log.txt").open("a").write("a line of the refused one\n")
        raise UserError("no")

    monkeypatch.setattr("autopose.functions.performed", refuse)
    with pytest.raises(UserError):
        autopose.predict(folder=run)
    assert content(run) == before


def test_a_command_that_wrote_before_it_failed_was_not_refused(run):
    earlier = EarlierRun(run)
    for name in ("log.txt", ".hydra/config.yaml", "checkpoints/best.pt"):
        (run / name).write_text("of the new run")
    earlier.put_back()
    assert content(run)[".hydra/config.yaml"] == content(run)["log.txt"] == b"of the new run"


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
