"""Commands called as functions: the page docs/api.md, and what they leave behind."""

import logging
import os
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import autopose
from autopose.command import overrides, performed
from autopose.config import Config, differences
from autopose.errors import UserError
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.runtime import Runtime
from autopose.space import Architecture, MacroSpace, builtin_architecture
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


def test_a_run_gives_back_what_it_set(tmp_path):
    """Logging, signals, threads, determinism and random numbers, whether it ends well or not."""
    log, handler = logging.getLogger("autopose"), logging.NullHandler()
    config = autopose.compose("train", "deterministic=true", f"threads={torch.get_num_threads() + 1}")

    def state() -> tuple:
        return (
            log.handlers[:], log.level, log.propagate, [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
            logging.getLogger().level,
            torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist(),
            os.environ.copy(), overrides(),
        )  # fmt: skip

    def run(config: Config, runtime: Runtime) -> list[bool]:
        torch.manual_seed(1234567)
        logging.getLogger().setLevel(logging.CRITICAL)
        log.info("it runs")
        return [one != other for one, other in zip(state(), before, strict=True)]

    # PyTorch names its compiler's cache in the environment when it is first made deterministic.
    performed(lambda config, runtime: None, config, tmp_path / "first", [])
    log.addHandler(handler)
    try:
        before = state()
        assert all(performed(run, config, tmp_path / "a", ["seed=3"])) and state() == before
        with pytest.raises(ZeroDivisionError):
            performed(lambda config, runtime: 1 / 0, config, tmp_path / "a", [])
        assert state() == before and (tmp_path / "a" / "log.txt").read_text().endswith("it runs\n")
    finally:
        log.removeHandler(handler)


def test_an_architecture_may_be_given_as_it_is(small_set, tmp_path, monkeypatch):
    """Without a name of its own, and without a folder: two runs within a second get two."""
    monkeypatch.chdir(tmp_path)
    found = builtin_architecture("random", MacroSpace((4, 8), 2, 1, 1, 1, 4), seed=3)
    config = autopose.compose("train", *DATA_SIZE, *TRAIN[1:], "train.epochs=1", f"data.root={small_set}")
    outcomes = [autopose.train(changed, architecture=found) for changed in (config, replace(config, seed=1))]
    folders = [outcome.folder for outcome in outcomes]
    assert len(set(folders)) == 2 and all(Architecture.load(f / "architecture.json") == found for f in folders)
    assert read_checkpoint(outcomes[0].checkpoint, "train")["config"]["architecture"] == str(
        folders[0] / "architecture.json"
    )
    with pytest.raises(UserError, match="an Architecture were given"):
        autopose.train(*DATA_SIZE, "architecture=random", architecture=found)


def test_words_of_a_config_count_as_given_and_changed_keys_too(tmp_path):
    """As on the command line, where a checkpoint brings the rest."""
    config = autopose.compose("evaluate", "experiment=lsp", f"data.root={tmp_path}/a folder, with = signs")
    assert config.words == ("experiment=lsp", f"data.root={tmp_path}/a folder, with = signs")
    assert config.data.root == f"{tmp_path}/a folder, with = signs"
    changed = replace(config, evaluate=replace(config.evaluate, flip_test=False))
    assert changed.words is None
    assert {"evaluate.flip_test=false", "name=lsp"} <= set(differences(changed, autopose.compose("evaluate")))
    with pytest.raises(UserError, match="evaluate does not use search.epochs"):
        autopose.compose("evaluate", "search.epochs=3")


def test_modules_are_commands_and_modules():
    import autopose.search as module
    from autopose import functions

    assert autopose.search is module and callable(module) and callable(module.run)
    for name in autopose.COMMANDS:
        assert callable(getattr(autopose, name)) and callable(getattr(functions, name))


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


def test_the_page_of_the_python_interface_runs(small_set, tmp_path, monkeypatch):
    """Its blocks in their order, on small runs."""
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
