"""Datasets of a run from its configuration."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from autopose.config import DataConfig
from autopose.data.augment import PRESETS
from autopose.data.checks import check_images
from autopose.data.coco import load_coco
from autopose.data.crop_cache.build import crop_cache
from autopose.data.crop_cache.regions import Margin
from autopose.data.crop_cache.store import CropCache
from autopose.data.dataset import PoseDataset
from autopose.data.device_crops import UncutDataset
from autopose.data.mpii import load_mpii
from autopose.data.pictures import fit_pictures
from autopose.data.records import DataSource, PoseAnnotations
from autopose.data.schema import COCO, MPII, KeypointSchema
from autopose.data.synthetic.dataset import set_name, synthetic_dataset
from autopose.errors import UserError

logger = logging.getLogger("autopose")
CROP_CACHE = "crop_cache"
SYNTHETIC_ROOT = Path("outputs") / "data"
# Image px to a heatmap cell.
STRIDE = 4


def data_source(config: DataConfig, split: str, root: str | Path, network: KeypointSchema | None = None) -> DataSource:
    """Where ``split`` ("train" or "val") lies; detection boxes are for the validation split only."""
    training = split == "train"
    detected = config.box_source != "gt" and config.detections is not None and not training
    return DataSource(
        root=root,
        split=config.train_split if training else config.val_split,
        annotation_file=config.train_annotations if training else config.val_annotations,
        image_folder=config.train_images if training else config.val_images,
        detection_file=config.detections if detected else None,
        score_threshold=config.score_threshold,
        head_file=None if training else config.head_file,
        metric=config.metric,
        joints=None if config.joints is None else tuple(config.joints),
        flip_pairs=None if config.flip_pairs is None else tuple(tuple(p) for p in config.flip_pairs),
        sigmas=None if config.sigmas is None else tuple(config.sigmas),
        skeleton=None if config.skeleton is None else tuple(tuple(p) for p in config.skeleton),
        category=config.category,
        network=network,
    )


def load_annotations(
    config: DataConfig,
    split: str,
    need_images: bool = True,
    network: KeypointSchema | None = None,
    compare: bool = True,
) -> PoseAnnotations:
    """Annotations of "train" or "val"; the synthetic set is drawn on first use.

    Args:
        config: which set.
        split: "train" or "val".
        need_images: False where only results are scored, or nothing is.
        network: joints that the set must have by name.
        compare: look at the pictures: whether they are there and of the annotated sizes.
    """
    if config.kind != "synthetic" and not config.root:
        raise UserError("data.root is not set: give the dataset's folder, as in data.root=/path/to/dataset")
    root: str | Path = config.root
    if config.kind == "synthetic":
        which = (config.seed, config.num_train, config.num_val, tuple(config.synthetic_size))
        root = synthetic_dataset(config.root or SYNTHETIC_ROOT / set_name(*which), *which)
    source = data_source(config, split, root, network)
    load = load_mpii if config.kind == "mpii" else load_coco
    aspect = config.image_size[0] / config.image_size[1]
    annotations = load(source, aspect, need_images=need_images)
    if not annotations.persons and need_images:
        raise UserError(f"the {split} split in {root} has no person to crop: is {source.split!r} the right split?")
    if need_images and compare and config.kind != "synthetic":
        annotations = _looked_at(annotations, config)
    _say(annotations, source.split)
    if need_images and compare and config.cache == "disk":
        annotations = replace(annotations, crops=cached_crops(annotations, config, split, root))
    return annotations


def cached_crops(annotations: PoseAnnotations, config: DataConfig, split: str, root: str | Path) -> CropCache:
    """The crop cache of "train" or "val", made where it is missing; it reaches as far as the split's augmentation."""
    folder = Path(config.cache_folder or Path(root) / CROP_CACHE).expanduser()
    name = config.train_split if split == "train" else config.val_split
    preset = PRESETS[config.augmentation if split == "train" else "none"]
    margin = Margin.of(preset, config.image_size)
    return crop_cache(folder / name.replace("/", "_"), annotations, margin, max(1, config.workers))


def _looked_at(annotations: PoseAnnotations, config: DataConfig) -> PoseAnnotations:
    """With pictures compared to their annotated sizes; where configured, every one is decoded once."""
    used = list(dict.fromkeys(person.image_id for person in annotations.persons))
    # A crop cache decodes every picture when it is made.
    if config.check_images and config.cache != "disk":
        check_images([annotations.images[key].path for key in used])
    images, remarks = fit_pictures(annotations.images, used, config.exif, config.rescale)
    return replace(annotations, images=images, remarks={**annotations.remarks, **remarks})


def _say(annotations: PoseAnnotations, split: str) -> None:
    """What was made of the files, and which joints are each other's mirror image, where that is not the standard."""
    for what, remark in annotations.remarks.items():
        logger.info("data       %s, %s: %s", split, what, remark)
    schema = annotations.schema
    if schema not in (COCO, MPII):
        count = len(schema.flip_pairs)
        pairs = f"{count} pair{'s' * (count != 1)} of {schema.num_joints} joints"
        logger.info("mirror     %s: %s: %s", split, pairs, schema.pairs_by_name())


def target_sigma(sigma: float | str, image_size: Sequence[int]) -> float:
    """σ of the targets in heatmap cells; "auto": in proportion to the heatmap, 2 at 64 rows, at least 0.75."""
    if sigma != "auto":
        return float(sigma)
    return max(0.75, 2 * (image_size[1] // STRIDE) / 64)


def pose_dataset(
    annotations: PoseAnnotations, config: DataConfig, image_size: Sequence[int] | None = None, augment: bool = False
) -> PoseDataset:
    """Crops of ``annotations``; augmented by the configured preset where asked."""
    preset = PRESETS[config.augmentation if augment else "none"]
    size = image_size or config.image_size
    return PoseDataset(
        annotations,
        size,
        preset,
        sigma=target_sigma(config.sigma, size),
        udp=config.udp,
        cache=config.cache in (True, "memory"),
    )


def training_samples(dataset: PoseDataset, config: DataConfig, device: torch.device) -> PoseDataset | UncutDataset:
    """What the loader of a training takes: crops are cut where ``data.crops`` says.

    Raises:
        UserError: on a device that cannot.
    """
    if config.crops != "device":
        return dataset
    if device.type == "mps":
        raise UserError("data.crops=device needs float64, which the device mps lacks: use data.crops=workers")
    return UncutDataset(dataset)
