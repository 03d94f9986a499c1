"""What ``--help`` says: the commands there are, keys that exist and are used, meanings of the schema's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from autopose import __version__
from autopose.__main__ import COMPLETION
from autopose.command import main
from autopose.config import USED, Config, choices, composed, documented
from autopose.help import ALWAYS, MEANINGS, PAGES, WIDTH, help_text

ROOT = Path(__file__).resolve().parents[1]
COMPOSED = [name for name, page in PAGES.items() if page.keys]


def test_every_key_has_a_meaning():
    assert [key for key, meaning in documented().items() if not meaning] == []


def test_meanings_are_the_docstrings():
    found = documented()
    assert found["train.ema"] == "decay of an exponential moving average of the weights (0: none)."
    assert found["search.gumbel.tau_end"] == found["search.gumbel.tau_schedule"]
    assert found["data.joints"] == found["data.sigmas"] != found["data.sigma"]


def test_every_composed_command_has_a_page():
    assert set(COMPOSED) == set(USED) == {path.stem for path in (ROOT / "configs").glob("*.yaml")} - {"base"}


@pytest.mark.parametrize("task", COMPOSED)
def test_keys_of_a_page_exist_and_are_used(task):
    page, known = PAGES[task], {*documented(), *MEANINGS}
    assert set(page.keys) <= known and all(key in USED[task] for key in (*page.keys, *ALWAYS))
    assert len(page.examples) == 2 and len(set(page.keys)) == len(page.keys)
    shown = help_text(task).splitlines()
    assert max(map(len, shown)) <= 120 and shown[0] == f"autopose {task}: {page.brief}"
    assert all(sum(line.startswith(f"  {key}=") for line in shown) == 1 for key in page.keys)
    assert len(shown) < 45


@pytest.mark.parametrize("task", COMPOSED)
def test_examples_compose(task):
    for example in PAGES[task].examples:
        composed(task, *example.split())


def test_help_all_shows_every_key_that_the_command_uses_and_no_other():
    lines = help_text("train", every_key=True).splitlines()
    keys = {
        line.strip().partition("=")[0] for line in lines if line.startswith("  ") and line[2] != " " and "=" in line
    }
    unused = {key for key in documented() if key not in USED["train"]}
    assert {"train.warmup_steps", "kernels.mixed_edge", "data.root"} <= keys
    assert not keys & unused and "search.epochs" in unused
    assert "  train.lr=0.003" in lines and max(map(len, lines)) <= WIDTH + 1


@pytest.mark.parametrize(
    ("argument", "printed"),
    [("--help", help_text("train")), ("-h", help_text("train")), ("--version", f"autopose {__version__}")],
)
def test_a_command_prints_its_help_and_its_version_and_makes_nothing(argument, printed, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train", "train.epochs=3", argument])
    with pytest.raises(SystemExit) as end:
        main("train", lambda config, runtime: pytest.fail("it ran"))
    assert (end.value.code, capsys.readouterr().out) == (0, printed + "\n") and not list(tmp_path.iterdir())


def test_bash_completes_commands_keys_and_choices():
    """The script that ``autopose completion`` prints, with a line that a user has begun."""
    script = COMPLETION.format(commands=" ".join(PAGES))
    function = f'autopose() {{ {sys.executable} -m autopose "$@"; }}'

    def complete(line: str) -> list[str]:
        program = f"{function}\n{script}\nCOMP_WORDBREAKS=$' \\t\\n='\nCOMP_LINE='{line}' _autopose\n"
        program += 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert not done.stderr
        return done.stdout.split()

    assert complete("autopose tr") == ["train"]
    assert complete("autopose search experiment=q") == ["quick"]


def test_devices_that_are_not_there_are_one_sentence(tmp_path):
    import torch

    from autopose.errors import UserError
    from autopose.runs.runtime import start

    assert composed("train", "device=mps").device == "mps"
    if torch.backends.mps.is_available():
        pytest.skip("needs a machine without Apple's GPU")
    with pytest.raises(UserError, match="device=mps was asked for, but PyTorch sees no Apple GPU"):
        start("mps", tmp_path / "run")
    assert not (tmp_path / "run").exists() and Config().device == "auto" and "quick" in choices("experiment")


def test_a_reader_that_has_seen_enough_gets_no_traceback():
    command = f"{sys.executable} -m autopose.train --help-all | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("autopose train:") and done.stderr == ""
