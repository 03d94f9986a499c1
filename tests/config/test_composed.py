"""What cannot be composed is one sentence in the project's voice."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import HydraException

from autopose.config import composed, composition_problem
from autopose.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("search.epoch=3", "there is no key search.epoch: did you mean search.epochs?"),
        ("trian.lr=3", "there is no key trian.lr: did you mean train.lr?"),
        (
            "export.image_size=[9,9]",
            "there is no key export.image_size: did you mean data.image_size or search.image_size?",
        ),
        ("arch=hrnet", "there is no key arch: did you mean architecture or architecture_"),
        ("../photo 1.jpg", "expected KEY=VALUE, but got '../photo 1.jpg': --help tells the keys"),
        ("hrnet", "expected KEY=VALUE, but got 'hrnet': --help tells the keys"),
        ("data.synthetic.train=3", "there is no key data.synthetic.train: did you mean data.synthetic_size?"),
        ("xyzzy=1", "there is no key xyzzy: --cfg job prints all keys"),
        ("experiment=qick", "there is no experiment qick: did you mean quick? there are coco, "),
        ("space=nothing", "there is no space nothing: there are paper, small"),
    ],
)
def test_mistyped_keys_and_choices_name_the_nearest(override, sentence):
    with (
        initialize_config_module("autopose.configs", version_base="1.3"),
        pytest.raises(HydraException) as caught,
    ):
        compose("search", [override])
    found = composition_problem(caught.value)
    assert found.startswith(sentence) and "\n" not in found


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.epochs=ten", "train.epochs must be a whole number, but is 'ten'"),
        ("train.lr=fast", "train.lr must be a number, but is 'fast'"),
        ("predict.draw=maybe", "predict.draw must be true or false, but is 'maybe'"),
        ("search.image_size=64", "search.image_size must be a list, as in [a,b]"),
    ],
)
def test_a_value_of_another_kind_is_told_what_it_must_be(override, sentence):
    with pytest.raises(UserError, match=rf"^{re.escape(sentence)}$"):
        composed("search", override)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    command = [sys.executable, "-m", "autopose.flops", f"hydra.run.dir={tmp_path}/file/run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write the run's folder") and done.stderr.count("\n") == 1
