"""From Hydra's composed configuration to the typed, frozen one; no object of Hydra's goes further."""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, StringNode
from omegaconf.errors import OmegaConfBaseException

from autopose.config.quoting import prepared, quoted
from autopose.config.schema import Config
from autopose.config.used import check_used
from autopose.errors import UserError


def _thawed(node: DictConfig) -> DictConfig:
    """Let a schema made from frozen dataclasses take values; the objects made from it are frozen again."""
    OmegaConf.set_readonly(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _thawed(child)
    return node


def _expand_home(node: DictConfig) -> None:
    """Replace a leading ~ of every text, which is a path then, by the user's home."""
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig):
            _expand_home(child)
        elif isinstance(child, StringNode) and isinstance(child._value(), str) and child._value().startswith("~"):
            node[key] = os.path.expanduser(child._value())


# OmegaConf's words for a value of another kind, and ours.
_KINDS = {
    "Value '(.*)' of type '.*' could not be converted to Integer": "a whole number",
    "Value '(.*)' of type '.*' could not be converted to Float": "a number",
    "Value '(.*)' is not a valid bool": "true or false",
    "Invalid value assigned: .* is not a ListConfig, list or tuple": "a list, as in [a,b]",
}


def from_hydra(config: DictConfig) -> Config:
    """Check and freeze a composed configuration; UserError names the key that is unknown or has a wrong value."""
    try:
        merged = OmegaConf.merge(_thawed(OmegaConf.structured(Config)), config)
        _expand_home(merged)
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None)
        reason = str(error).splitlines()[0]
        for pattern, kind in _KINDS.items():
            other = re.match(pattern, reason)
            if key and other:
                raise UserError(f"{key} must be {kind}" + "".join(f", but is {v!r}" for v in other.groups())) from None
        raise UserError(f"the configuration cannot be used{f' at {key}' if key else ''}: {reason}") from None
    except UserError:
        raise
    except (ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"the configuration cannot be used: {reason}") from None


# Under every YAML file, so that any key can be given on the command line, and a mistyped one is refused.
ConfigStore.instance().store(name="typed_defaults", node=OmegaConf.create(Config().to_dict()))


def composed(task: str, *overrides: str) -> Config:
    """The configuration of a command line: ``composed("search", "experiment=quick", "search.epochs=3")``.

    Args:
        task: the command.
        overrides: its words.

    Raises:
        UserError: an unknown command or key, a value that cannot be, or a key that the command does not use.
    """
    from hydra import compose, initialize_config_module
    from hydra.core.singleton import Singleton

    outside = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("autopose.configs", version_base="1.3"):
            config = from_hydra(compose(task, prepared(overrides, sweeping=False)))
    except HydraException as error:
        raise UserError(composition_problem(error)) from None
    finally:
        Singleton.set_state(outside)
    check_used(task, overrides, config)
    object.__setattr__(config, "words", overrides)
    return config


def differences(config: Config, other: Config) -> list[str]:
    """The keys in which a configuration differs from another one, as overrides."""

    def walk(node: dict, default: dict, prefix: str) -> list[str]:
        found = []
        for key, value in node.items():
            if isinstance(value, dict) and isinstance(default.get(key), dict):
                found += walk(value, default[key], f"{prefix}{key}.")
            elif value != default.get(key):
                found.append(f"{prefix}{key}={quoted(value)}")
        return found

    return walk(config.to_dict(), other.to_dict(), "")


def composition_problem(error: Exception) -> str:
    """Why Hydra could not compose a configuration, in one sentence; a mistyped key with the nearest that exists."""
    if isinstance(error, OverrideParseException) and "=" not in error.override:
        return f"expected KEY=VALUE, but got {error.override!r:.200}: --help tells the keys"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    mistyped = re.match(r"Could not override '(.+)'", lines[0]) if lines else None
    if mistyped:
        key = mistyped[1].lstrip("+~")
        close = _near(key, ["experiment", *_keys(Config().to_dict())])
        hint = f"did you mean {' or '.join(close)}?" if close else "--cfg job prints all keys"
        return f"there is no key {key}: {hint}"
    missing = re.search(r"Could not find '(.+?)'", lines[0]) if lines else None
    if missing:
        options = [line for line in lines[1:] if not line.endswith(":") and "=" not in line and " " not in line]
        group, _, name = missing[1].rpartition("/")
        close = get_close_matches(name, options, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"there is no {group} {name}: {hint}there are {', '.join(options)}"
    return " ".join(lines) or type(error).__name__


def _near(key: str, known: Sequence[str]) -> list[str]:
    """The key that was meant; where its own name is right and its group is none, or it was cut short, all such keys."""
    group, _, leaf = key.rpartition(".")
    sections = {name.rpartition(".")[0] for name in known}
    same = [name for name in known if name.rpartition(".")[2] == leaf and name not in sections]
    if same and not get_close_matches(group, [name.rpartition(".")[0] for name in same], 1, 0.7):
        return same[:3]
    begun = [name for name in known if name.startswith(key)]
    return begun[:3] or get_close_matches(key, known, 1)


def _keys(node: dict, prefix: str = "") -> list[str]:
    found = []
    for name, value in node.items():
        found.append(f"{prefix}{name}")
        if isinstance(value, dict):
            found += _keys(value, f"{prefix}{name}.")
    return found
