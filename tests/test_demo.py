"""``make demo``: its files and commands fit each other; the commands themselves are tested where they are."""

import re
from pathlib import Path

from autopose.config import composed
from autopose.space import Architecture
from autopose.space.macs import count_macs

ROOT = Path(__file__).resolve().parent.parent


def test_the_demos_architecture_is_of_the_small_space_and_small_enough():
    config = composed("train", "experiment=quick")
    found = Architecture.load(ROOT / "examples" / "demo_architecture.json")
    assert found.macro_space == config.space.macro()
    space = found.macro_space.widened(config.train.width)
    macs = count_macs(space, found.macro, found.cells, config.data.image_size, 17)
    everything = count_macs(space, space.all_on(), None, config.data.image_size, 17)
    assert 0.005e9 < macs < 0.1e9 and macs < everything


def test_every_file_that_the_demo_names_is_made_before_it_is_used():
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1]
    lines = [line for line in recipe.splitlines() if "autopose." in line]
    made = set()
    for line in lines:
        for used in re.findall(r"\$\(DEMO\)/(\w+)", re.sub(r"(hydra\.run\.dir|data\.root|out)=\S+", "", line)):
            assert used in made, line
        made |= set(re.findall(r"(?:hydra\.run\.dir|data\.root)=\$\(DEMO\)/(\w+)", line))
    assert [re.search(r"autopose\.(\w+)", line)[1] for line in lines] == ["train", "predict", "export", "report"]
    assert all((ROOT / name).is_file() for name in re.findall(r"examples/\w+\.\w+", recipe))
