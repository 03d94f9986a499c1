"""The console command."""

import importlib.util
import subprocess
import sys

import pytest

from autopose import __version__
from autopose.__main__ import COMMANDS, main, usage


def call(monkeypatch, capsys, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["autopose", *arguments])
    code = main()
    return code, *capsys.readouterr()


def test_help_lists_commands_that_exist(monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "--help")
    assert code == 0 and out.strip() == usage()
    assert all(f"  {name} " in out for name in COMMANDS)
    assert all(importlib.util.find_spec(f"autopose.{name}") for name in COMMANDS)
    assert call(monkeypatch, capsys)[1] == call(monkeypatch, capsys, "help")[1] == out


def test_version_and_mistyped_commands(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version")[:2] == (0, f"autopose {__version__}\n")
    assert call(monkeypatch, capsys, "serch")[::2] == (2, "error: there is no command 'serch': did you mean search?\n")
    assert "expected one of search" in call(monkeypatch, capsys, "xyzzy")[2]
    assert "did you mean --version?" in call(monkeypatch, capsys, "--verison")[2]


@pytest.mark.parametrize(("arguments", "code"), [(["report"], 2), (["report", "--help"], 0)])
def test_a_command_gets_the_other_arguments_and_gives_its_code(arguments, code):
    done = subprocess.run([sys.executable, "-m", "autopose", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "One page for runs" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("search --hlep", "there is no option --hlep: did you mean --help?"),
        ("train --epochs 5", "there is no option --epochs: keys are given as KEY=VALUE, and --help tells them"),
    ],
)
def test_an_option_that_does_not_exist_is_one_sentence(words, sentence):
    done = subprocess.run(
        [sys.executable, "-m", "autopose", *words.split()], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (2, f"error: {sentence}\n")


@pytest.mark.parametrize(
    "words", [["--help"], ["search", "--help"], ["data", "--help"], ["report", "--help"], ["flops"]]
)
def test_a_reader_that_leaves_ends_it_quietly(words, tmp_path):
    """As ``autopose flops | head -1`` does, at the earliest."""
    process = subprocess.Popen(
        [sys.executable, "-m", "autopose", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 0
