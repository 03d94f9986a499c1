"""The shortest command line that composes a configuration again."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from autopose import configs  # type: ignore[attr-defined]
from autopose.config.composed import from_hydra
from autopose.config.schema import Config
from autopose.errors import UserError

_FOLDER = Path(configs.__path__[0])


def overrides_for(config: Config, task: str, groups: Sequence[str]) -> list[tuple[str, object]]:
    """Keys and values: the experiment and the data that lie nearest, then every key that still differs.

    Args:
        config: to compose again, as from the command line or from a checkpoint.
        task: whose command line it is.
        groups: the keys and groups that must come out equal ("data", "train", "seed").
    """
    if not GlobalHydra.instance().is_initialized():
        with initialize_config_module("autopose.configs", version_base="1.3"):
            return _overrides(config, task, groups)
    return _overrides(config, task, groups)


def _overrides(config: Config, task: str, groups: Sequence[str]) -> list[tuple[str, object]]:
    wanted = dict(_flat(config.to_dict(), groups))
    experiments = [(("experiment", name),) for name in choices("experiment")]
    best, differing = _nearest(experiments, task, wanted, groups, config.name)
    with_data = [(*best, ("data", name)) for name in choices("data")]
    other, fewer = _nearest(with_data, task, wanted, groups, config.name)
    # One more word on the command line must save more than one.
    if len(fewer) + 1 < len(differing):
        best, differing = other, fewer
    return [*best, *((key, wanted[key]) for key in differing)]


def _nearest(
    candidates: Sequence[tuple], task: str, wanted: dict[str, object], groups: Sequence[str], name: str
) -> tuple[tuple, list[str]]:
    """The candidate that leaves the fewest keys to give, and these keys; of several the one called ``name``."""
    rows = []
    for candidate in candidates:
        composed = _composed(task, candidate)
        if composed is None:
            continue
        found = dict(_flat(composed.to_dict(), groups))
        differing = [key for key, value in wanted.items() if key not in found or found[key] != value]
        rows.append((len(differing), composed.name != name, "/" in candidate[0][1], candidate, differing))
    return min(rows)[-2:]


@lru_cache(maxsize=256)
def _composed(task: str, candidate: tuple[tuple[str, str], ...]) -> Config | None:
    """The configuration of a command line; None for an experiment that cannot stand alone."""
    try:
        return from_hydra(compose(task, [f"{key}={value}" for key, value in candidate]))
    except (HydraException, UserError):
        return None


def choices(group: str) -> list[str]:
    """The names of a group of the configuration's files ("experiment": quick, coco, ablation/...)."""
    folder = _FOLDER / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def _flat(content: dict, groups: Sequence[str], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if not prefix and not any(group == name or group.startswith(f"{name}.") for group in groups):
            continue
        if isinstance(value, dict) and value:
            yield from _flat(value, groups, f"{name}.")
        elif any(name == group or name.startswith(f"{group}.") for group in groups):
            yield name, list(value) if isinstance(value, tuple) else value
