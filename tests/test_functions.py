"""Commands called as functions: the page docs/api.md, and what they leave behind."""

import logging
import re
import signal
import threading
from pathlib import Path

import pytest

import autopose
from autopose.config import Config, differences
from autopose.errors import UserError
from autopose.space import Architecture
from bench.small_runs import SEARCH, SIZE, TRAIN

# An architecture's file brings its own space.
DATA_SIZE = [word for word in SIZE if not word.startswith("space.")]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def test_a_search_a_training_and_an_evaluation_by_call(small_set, tmp_path):
    handlers = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    data = f"data.root={small_set}"
    found = autopose.search(*SIZE, *SEARCH, data, folder=tmp_path / "search")
    assert found == Architecture.load(tmp_path / "search" / "architecture.json")
    path = f"architecture={tmp_path / 'search' / 'architecture.json'}"
    trained = autopose.train(*DATA_SIZE, *TRAIN[1:], path, data, folder=tmp_path / "train")
    assert trained.checkpoint.is_file() and trained.metrics.keys() >= {"AP", "Mean"} and trained.constant["Mean"] > 0
    by_words = autopose.evaluate(f"checkpoint={trained.checkpoint}", data, folder=tmp_path / "words")
    config = autopose.compose("evaluate", f"checkpoint={trained.checkpoint}", data)
    by_config = autopose.evaluate(config, folder=tmp_path / "config")
    assert by_words.metrics == by_config.metrics == trained.metrics
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not logging.getLogger("autopose").handlers


def test_mistakes_are_raised_and_the_folder_is_free_again(tmp_path):
    for words, message in (
        (("experimnt=quick",), "there is no key experimnt: did you mean experiment?"),
        (("architecture=hrnet",), "search does not use architecture"),
        ((3,), "takes words like"),
        (("experiment=quikc",), "did you mean quick?"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            autopose.search(*words, folder=tmp_path)
    with pytest.raises(UserError, match="evaluate needs either"):
        autopose.evaluate(folder=tmp_path)
    with pytest.raises(UserError, match="evaluate needs either"):
        autopose.evaluate(folder=tmp_path)


def test_another_thread_may_call(tmp_path):
    errors = []

    def call() -> None:
        try:
            autopose.flops("architecture=hrnet", "experiment=quick", folder=tmp_path)
        except Exception as error:  # noqa: BLE001 - reported below
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert not errors


def test_what_a_config_changes_are_its_differences():
    assert differences(Config(seed=3), Config()) == ["seed=3"]


def test_the_page_of_the_python_interface_runs(small_set, finished, tmp_path, monkeypatch):
    """Its blocks in their order, on small runs: the words in angle brackets are the test's."""
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    small = {
        '"experiment=quick"': ", ".join(repr(word) for word in (*SIZE, *SEARCH, f"data.root={small_set}")),
        '"experiment=quick", "train.epochs=12"': ", ".join(
            repr(w) for w in (*DATA_SIZE, *TRAIN[1:], f"data.root={small_set}")
        ),
        '"photo.jpg"': repr(str(small_set / "val" / "000000.jpg")),
        "(1, 3, 256, 192)": "(1, 3, 64, 64)",
    }
    for word in sorted(small, key=len, reverse=True):
        assert word in code
        code = code.replace(word, small[word])
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - the page's own code
    assert (tmp_path / "pose.onnx").is_file() and (tmp_path / "drawn.png").is_file()
