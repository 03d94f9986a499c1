"""The configuration that a checkpoint embeds: what a command takes from it, and what a resumed run may change."""

import dataclasses

from omegaconf import OmegaConf

from autopose.config.composed import from_hydra
from autopose.config.schema import Config
from autopose.space import MacroSpace

# Keys that no result of a run depends on, or that only say how it is run here.
EVERYWHERE = (
    "task", "name", "resume", "device", "threads", "kernels", "evaluate", "architecture", "checkpoint", "results",
    "images", "boxes", "correlate", "data.workers", "data.cache", "data.check_images", "data.root",
)  # fmt: skip
# What a resumed run may change, with all keys below a name, by the kind of its checkpoint.
MAY_CHANGE = {
    "search": (
        *EVERYWHERE, "train", "search.checkpoint_every", "search.keep_checkpoints", "search.derive_samples",
        "search.max_skips", "search.width",
    ),
    "train": (
        *EVERYWHERE, "search", "train.checkpoint_every", "train.keep_checkpoints", "train.evaluate_every",
        # The architecture brings its own space.
        *(f"space.{field.name}" for field in dataclasses.fields(MacroSpace)), "space.alpha_sharing",
        "space.operations", "space.supernet_affine",
    ),
}  # fmt: skip


def from_checkpoint(embedded: dict, composed: Config, overrides: list[str]) -> Config:
    """The configuration that a checkpoint embeds, changed by what the command line says.

    Args:
        embedded: ``Config.to_dict()`` of the run that wrote the checkpoint.
        composed: the configuration of this command.
        overrides: its command-line overrides; ``data=`` or ``experiment=`` takes this command's ``data``.
    """
    merged = OmegaConf.create(
        {**embedded, **{k: getattr(composed, k) for k in ("task", "checkpoint", "results", "images", "boxes")}}
    )
    keys = [item.split("=")[0].lstrip("+~") for item in overrides]
    if "data" in keys or "experiment" in keys:
        merged.data = OmegaConf.create(dataclasses.asdict(composed.data))
    for group in ("kernels", "search", "space", "train"):
        if group in keys:
            merged[group] = OmegaConf.create(dataclasses.asdict(getattr(composed, group)))
    for key in keys:
        if key.split(".")[0] in embedded and (("." in key) or key in ("seed", "device", "threads", "name", "resume")):
            OmegaConf.update(merged, key, OmegaConf.select(OmegaConf.create(composed.to_dict()), key), force_add=True)
    return from_hydra(merged)
