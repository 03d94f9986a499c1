"""Every number of the configuration has a range, and no range lets through what is not a finite number."""

import dataclasses
from math import inf, nan

import pytest
from omegaconf import OmegaConf

from autopose.config import Config, DataConfig, TrainConfig, from_hydra
from autopose.errors import UserError
from autopose.nas import BilevelSettings
from autopose.nas.alpha import GumbelSettings
from autopose.nas.controller import ControllerSettings
from autopose.ranges import BETAS, Range, check_ranges


def leaves(settings, prefix=""):
    """(key, value) of every field below."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_numbers(value):
    return isinstance(value, list | tuple) and bool(value) and all(map(is_number, value))


# Numbers whose default is None are numbers too.
OPTIONAL = {"data.sigmas": [0.1], "search.image_size": [64, 64], "search.max_skips": 1}
LEAVES = dict(leaves(Config())) | OPTIONAL
NUMBERS = sorted(key for key, value in LEAVES.items() if is_number(value))
LISTS = sorted(key for key, value in LEAVES.items() if is_numbers(value))


def changed(key, value):
    """The settings that hold a key, made anew with another value of it."""
    *owners, name = key.split(".")
    node = Config()
    for owner in owners:
        node = getattr(node, owner)
    return dataclasses.replace(node, **{name: value})


def composed(key, value):
    """The configuration as a command line composes it."""
    content = Config().to_dict()
    node = content
    for part in key.split(".")[:-1]:
        node = node[part]
    node[key.split(".")[-1]] = value
    return from_hydra(OmegaConf.create(content))


# A threshold on scores may be anything finite.
UNBOUNDED = ("evaluate.keypoint_threshold",)


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", [nan, inf, -inf, -1e9], ids=str)
def test_no_number_of_the_schema_lets_nonsense_through(key, value):
    value = int(value) if value == -1e9 and isinstance(LEAVES[key], int) else value
    if key in UNBOUNDED and value == -1e9:
        assert changed(key, value)
        return
    with pytest.raises(UserError, match=key.removeprefix("space.")) as error:
        changed(key, value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["train.lr", "train.epochs", "search.reward.flops_weight"])
def test_integers_beyond_any_float(key):
    with pytest.raises(UserError):
        composed(key, 10**400)


@pytest.mark.parametrize("key", LISTS)
@pytest.mark.parametrize("value", [nan, inf, -1])
def test_no_list_of_numbers_lets_nonsense_through(key, value):
    with pytest.raises(UserError, match=key.split(".")[-1]):
        changed(key, [*LEAVES[key][:-1], value])


def test_there_is_something_to_check():
    assert len(NUMBERS) > 50 and {"train.betas", "data.image_size", "search.alpha_betas"} <= set(LISTS)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.lr", 0.0, "above 0"),
        ("train.grad_clip", -1.0, "at least 0"),
        ("train.betas", [0.9], "2 numbers"),
        ("train.betas", [0.9, 1.0], "below 1"),
        ("search.alpha_betas", [0.5], "alpha_betas"),
        ("search.gumbel.tau_end", 0.0, "search.gumbel.tau_end must be above 0"),
        ("search.controller.baseline_decay", 1.5, "at most 1"),
        ("search.reward.fraction", 1.0, "below 1"),
        ("evaluate.nms_threshold", 2.0, "at most 1"),
        ("data.sigmas", [0.1, 0.0], "above 0"),
    ],
)
def test_bounds_are_said(key, value, said):
    with pytest.raises(UserError, match=said):
        composed(key, value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BilevelSettings(grad_clip=nan),
        lambda: BilevelSettings(alpha_betas=(0.5, 1.0)),
        lambda: GumbelSettings(tau_start=inf),
        lambda: ControllerSettings(lr=-1e-3),
        lambda: TrainConfig(ema=nan),
        lambda: DataConfig(sigma=nan),
    ],
)
def test_settings_made_in_python_are_checked_too(make):
    with pytest.raises(UserError):
        make()


def test_a_number_without_a_range_must_be_finite():
    @dataclasses.dataclass
    class New:
        weight: float = 1.0
        flag: bool = True
        name: str | None = None

    check_ranges(New(), {})
    with pytest.raises(UserError, match="new.weight must be finite, but is nan"):
        check_ranges(New(nan), {}, "new.")


def test_edges_of_a_range():
    assert BETAS.holds(0) and not BETAS.holds(1) and not BETAS.holds(True) and not BETAS.holds("0.5")
    assert Range(most=1).holds(1) and not Range(above=0).holds(0)
    assert str(Range(above=0, below=1)) == "above 0 and below 1"
