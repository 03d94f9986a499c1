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
    assert call(monkeypatch, capsys)[1] == out


def test_version_and_mistyped_commands(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version")[:2] == (0, f"autopose {__version__}\n")
    assert call(monkeypatch, capsys, "serch")[::2] == (2, "error: there is no command 'serch': did you mean search?\n")
    assert "expected one of search" in call(monkeypatch, capsys, "xyzzy")[2]


@pytest.mark.parametrize(("arguments", "code"), [(["report"], 2), (["report", "--help"], 0)])
def test_a_command_gets_the_other_arguments_and_gives_its_code(arguments, code):
    done = subprocess.run([sys.executable, "-m", "autopose", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code and "One page for runs" in done.stdout
