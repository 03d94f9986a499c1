"""Every experiment composes for every command; wrong keys and values are one sentence."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import HydraException

from autopose.config import Config, from_checkpoint, from_hydra
from autopose.errors import UserError
from autopose.runs.datasets import load_annotations

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
COMMANDS = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base")
EXPERIMENTS = sorted(
    str(path.relative_to(CONFIGS / "experiment").with_suffix("")) for path in (CONFIGS / "experiment").rglob("*.yaml")
)
GROUPS = [
    f"{folder.name}={path.stem}"
    for folder in sorted(CONFIGS.iterdir())
    if folder.is_dir() and folder.name != "experiment"
    for path in sorted(folder.glob("*.yaml"))
]


@pytest.fixture(autouse=True, scope="module")
def configs():
    with initialize_config_module("autopose.configs", version_base="1.3"):
        yield


def composed(command: str, *overrides: str) -> Config:
    return from_hydra(compose(command, list(overrides)))


def test_nothing_is_missing():
    assert {"search", "derive", "train", "evaluate", "flops"} <= set(COMMANDS)
    assert {"quick", "lsp", "coco", "mpii_transfer"} <= set(EXPERIMENTS)
    ablations = {name.removeprefix("ablation/") for name in EXPERIMENTS if name.startswith("ablation/")}
    assert {"single_scale", "no_aggregation", "fixed_four", "search_128x96"} <= ablations


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_experiment_composes_for_every_command(command, experiment):
    config = composed(command, f"experiment={experiment}", "data.root=/nowhere")
    assert config.task == command and config.name == experiment.replace("ablation/", "ablation_")
    config.space.macro().check_image_size(config.search.image_size or config.data.image_size)
    config.space.macro().check_image_size(config.data.image_size)


@pytest.mark.parametrize("choice", GROUPS)
def test_every_choice_of_a_group_composes(choice):
    composed("search", choice, "data.root=/nowhere")


def test_every_key_of_the_schema_can_be_overridden():
    text = composed("train", "train.ema=0.5", "search.gumbel.skip_dropout=0.1", "space.max_active=2", "data.udp=true")
    assert (text.train.ema, text.search.gumbel.skip_dropout) == (0.5, 0.1)
    assert (text.space.max_active, text.data.udp) == (2, True)


def test_the_paper_is_the_default_of_coco():
    config = composed("search", "experiment=coco", "data.root=/nowhere")
    search, macro = config.search, config.space.macro()
    assert macro.channels == (16, 32, 64, 128) and (macro.num_stages, macro.modules_per_stage) == (3, 2)
    assert (search.epochs, search.iterations, search.derive_samples) == (50, 1100, 10)
    assert (search.controller.updates, search.controller.samples, search.controller.start_epoch) == (10, 2, 5)
    assert (search.alpha_lr, search.controller.lr, search.controller.hidden) == (3e-3, 3.5e-3, 100)
    assert (search.gumbel.relaxation, search.gumbel.tau_start, search.gumbel.tau_end) == ("soft", 5.0, 0.5)
    assert (search.reward.metric, search.reward.split, search.reward.batch_norm) == ("oks_ap", "train", "batch")
    train = config.train
    assert (train.epochs, train.lr, train.batch_size, train.width) == (210, 1e-3, 128, 2)
    assert (list(train.betas), list(train.milestones)) == ([0.9, 0.99], [170, 200])
    assert list(config.data.image_size) == [192, 256] and config.evaluate.flip_test
    assert config.space.search_space().log10_size() == pytest.approx(62.75, abs=0.01)


ABLATIONS = {
    "single_scale": lambda c: c.space.max_active == 1,
    "no_aggregation": lambda c: c.space.aggregation == "concat",
    "fixed_four": lambda c: len(c.space.macro().allowed()) == 1,
    "search_128x96": lambda c: c.search.image_size == [96, 128],
    "no_pools": lambda c: not any("pool" in op for op in c.space.operations),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_differ_from_the_paper_where_they_say(name):
    paper = composed("search", "experiment=coco", "data.root=/nowhere")
    ablation = composed("search", f"experiment=ablation/{name}", "data.root=/nowhere")
    assert ABLATIONS[name](ablation) and not ABLATIONS[name](paper)
    assert (ablation.train, ablation.data, ablation.evaluate) == (paper.train, paper.data, paper.evaluate)


WRONG = {
    "search.epochs=many": "search.epochs",
    "search.epochs=0": "at least 1",
    "search.algorithm=darts": "bilevel, random, evolution",
    "search.gumbel.relaxation=hard": "soft, straight_through, one_op",
    "search.gumbel.tau_end=-1": "above 0",
    "search.controller.baseline=mean": "ema, leave_one_out",
    "search.reward.metric=ap": "oks_ap",
    "search.reward.split=test": "train",
    "search.reward.fraction=1.5": "above 0 and below 1",
    "search.reward.flops_weight=0.1": "target_gmacs",
    "space.channels=[16,-2]": "channels",
    "space.channels=16": "channels",
    "space.aggregation=sum": "cell, concat",
    "space.alpha_sharing=none": "alpha_sharing",
    "space.min_active=9": "min_active",
    "space.operations=[]": "at least one",
    "space.operations=[conv_1x1,conv_1x1]": "none twice",
    "space.operations=[sep_conv]": "my_package.my_module:Name",
    "space.operations=['no_such_package.ops:Separable']": "no module 'no_such_package'",
    "space.operations=['autopose.space:Separable']": "has no 'Separable'",
    "space.operations=['autopose.space:SearchSpace']": "must be an autopose.space.Operation",
    "data.kind=voc": "synthetic, coco, mpii",
    "data.image_size=[192]": "width, height",
    "data.augmentation=strong": "data.augmentation",
    "train.optimizer=lion": "adam",
    "train.ema=1": "train.ema",
    "evaluate.nms=hard": "oks, soft, none",
    "evaluate.flip_test=perhaps": "flip_test",
    "kernels.mixed_edge=fast": "mixed_edge",
    "device=tpu": "auto, cpu, cuda",
    "resume=yes please": "no, auto",
    "seed=-1": "seed",
    "+search.epoch=3": "epoch",
    "+colour=red": "colour",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_key_or_value_is_one_sentence(override):
    with pytest.raises(UserError) as error:
        composed("search", override)
    assert WRONG[override] in str(error.value) and "\n" not in str(error.value)


def test_an_unknown_key_without_plus_is_hydras_own_error():
    with pytest.raises(HydraException, match="epoch"):
        compose("search", ["search.epoch=3"])


def test_a_dataset_without_a_root_is_refused():
    with pytest.raises(UserError, match="data.root"):
        load_annotations(composed("search", "experiment=coco").data, "train")


@pytest.mark.parametrize("size", ["[192,250]", "[200,256]", "[16,32]"])
def test_an_image_size_that_does_not_fit_the_coarsest_stride(size):
    config = composed("search", "space=paper", f"data.image_size={size}")
    with pytest.raises(UserError, match="multiple of 32"):
        config.space.macro().check_image_size(config.data.image_size)


def test_a_configuration_survives_a_checkpoint():
    config = composed("search", "seed=5", "search.gumbel.tau_end=0.25")
    again = from_checkpoint(
        config.to_dict(), composed("derive", "search.derive_samples=3"), ["search.derive_samples=3"]
    )
    assert (again.seed, again.search.gumbel.tau_end, again.search.derive_samples) == (5, 0.25, 3)
    assert again.space == config.space and again.task == "derive"


def test_a_set_is_called_as_its_folder():
    for overrides, name in (
        (["data=keypoints", "data.root=/sets/my mice/"], "my mice"),
        (["data=synthetic", "data.root=/sets/drawn"], "synthetic"),
    ):
        assert composed("train", *overrides).data.title == name
