"""The configuration that a checkpoint embeds: what a command takes from it, and what a resumed run may change."""

import dataclasses
import logging

from omegaconf import OmegaConf

from autopose.config.composed import from_hydra
from autopose.config.schema import Config
from autopose.data.synthetic.dataset import is_drawn_set
from autopose.errors import UserError
from autopose.space import MacroSpace

logger = logging.getLogger("autopose")
# What a command says of itself alone: never taken from a checkpoint.
OWN = (
    "task", "checkpoint", "results", "source", "images", "boxes", "detector", "predict", "format", "out", "export",
    "latency", "precision",
)  # fmt: skip
# Keys of the data that belong to a network: what its input and its outputs are.
OF_NETWORK = ("image_size", "udp", "sigma", "joints", "flip_pairs", "sigmas", "skeleton")
# Keys that no result of a run depends on, or that only say how it is run here.
EVERYWHERE = (
    *OWN, "name", "resume", "tracker", "dry_run", "trace", "device", "threads", "kernels", "evaluate", "architecture",
    "architecture_seed", "architecture_gmacs", "correlate", "pareto", "pool", "data.workers", "data.cache",
    "data.cache_folder", "data.check_images", "data.root",
)  # fmt: skip
# What a resumed run may change, with all keys below a name, by the kind of its checkpoint.
MAY_CHANGE = {
    "search": (
        *EVERYWHERE, "train", "search.checkpoint_every", "search.keep_checkpoints", "search.derive_samples",
        "search.max_skips", "search.max_gmacs", "search.min_gmacs", "search.width", "search.graphs", "search.trials",
    ),
    "train": (
        *EVERYWHERE, "search", "train.checkpoint_every", "train.keep_checkpoints", "train.evaluate_every",
        # The architecture brings its own space.
        *(f"space.{field.name}" for field in dataclasses.fields(MacroSpace)), "space.alpha_sharing",
        "space.operations", "space.supernet_affine",
    ),
}  # fmt: skip


def without_retired(embedded: dict) -> dict:
    """A checkpoint's configuration without the keys that are no more: ``precision`` says what ``autocast`` said."""
    found = dict(embedded)
    for group in ("search", "train"):
        if isinstance(found.get(group), dict):
            found[group] = {key: value for key, value in found[group].items() if key != "autocast"}
    return found


def from_checkpoint(embedded: dict, composed: Config, overrides: list[str]) -> Config:
    """The configuration that a checkpoint embeds, changed by what the command line says.

    ``data=`` or ``experiment=`` takes this command's data set; what belongs to the network (``OF_NETWORK``) stays the
    checkpoint's unless it is given key by key. Differences are logged.

    Args:
        embedded: ``Config.to_dict()`` of the run that wrote the checkpoint.
        composed: the configuration of this command.
        overrides: its command-line overrides.
    """
    _refuse_interpolations(embedded)
    embedded = without_retired(embedded)
    embedded = _without_foreign_root(embedded, composed)
    merged = OmegaConf.create({**embedded, **{k: v for k, v in composed.to_dict().items() if k in OWN}})
    keys = [item.split("=")[0].lstrip("+~") for item in overrides]
    if "data" in keys or "experiment" in keys:
        data = dataclasses.asdict(composed.data)
        kept = {key: embedded["data"][key] for key in OF_NETWORK if key in embedded["data"]}
        _say_kept(data, kept, keys)
        merged.data = OmegaConf.create({**data, **kept})
    for group in ("kernels", "evaluate", "search", "train"):
        if group in keys:
            merged[group] = OmegaConf.create(dataclasses.asdict(getattr(composed, group)))
    for key in keys:
        if key.split(".")[0] in embedded and (("." in key) or key in ("seed", "device", "threads", "name", "resume")):
            value = OmegaConf.select(OmegaConf.create(composed.to_dict()), key)
            _say_changed(key, embedded, value)
            OmegaConf.update(merged, key, value, force_add=True)
    return from_hydra(merged)


def _refuse_interpolations(node: object) -> None:
    """UserError where a string of a checkpoint's configuration would be expanded, as an environment variable say."""
    if isinstance(node, dict):
        for key, value in node.items():
            _refuse_interpolations(key)
            _refuse_interpolations(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse_interpolations(value)
    elif isinstance(node, str) and "${" in node:
        raise UserError(
            f"the checkpoint's configuration holds {node!r:.60}, which would be expanded: no run of this software "
            "writes that, so the file was edited; do not use it"
        )


def _without_foreign_root(embedded: dict, composed: Config) -> dict:
    """Without a drawn set's folder that is not there: drawing it would write to a path that the file names."""
    data = embedded.get("data")
    if not isinstance(data, dict) or data.get("kind") != "synthetic" or is_drawn_set(str(data.get("root", ""))):
        return embedded
    return {**embedded, "data": {**data, "root": composed.data.root if composed.data.kind == "synthetic" else ""}}


def _say_kept(data: dict, kept: dict, keys: list[str]) -> None:
    for key, value in kept.items():
        given = data.get(key)
        if _listed(given) != _listed(value) and f"data.{key}" not in keys and value is not None:
            shown = f", not {given}, as data= and experiment= have it" if given is not None else ""
            logger.info("network    data.%s stays the checkpoint's, %s%s", key, value, shown)


def _say_changed(key: str, embedded: dict, value: object) -> None:
    group, _, name = key.partition(".")
    known = embedded["data"].get(name)
    if group == "data" and name in OF_NETWORK and _listed(known) != _listed(value):
        logger.warning("caution    %s is %s here, but the network was trained with %s", key, value, known)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
