"""Evaluation of a network on a validation split under the configured protocol."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from autopose.config import DataConfig, EvaluateConfig
from autopose.data.records import PoseAnnotations
from autopose.data.stream import evaluation_loader
from autopose.errors import UserError
from autopose.evaluation.constant_pose import ConstantPose
from autopose.evaluation.inference import Forward, Poses, coco_results, predict_batches, predict_poses
from autopose.evaluation.pixel_scores import score_pixels
from autopose.evaluation.scoring import Score, score_poses, score_results
from autopose.models import PoseNetwork
from autopose.models.frozen import FrozenNetwork, quickest
from autopose.progress import progress
from autopose.runs.datasets import pose_dataset
from autopose.runs.runtime import Runtime


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gives.

    Attributes:
        scores: the tables, the main metric's first.
        results: COCO keypoint results.
        poses: the pose of every crop, in the order of the annotations' persons.
    """

    scores: list[Score]
    results: list[dict]
    poses: Poses


def predict(
    network: PoseNetwork | Forward,
    annotations: PoseAnnotations,
    data: DataConfig,
    settings: EvaluateConfig,
    runtime: Runtime,
) -> Poses:
    """Poses of every crop of ``annotations``; all processes share the work and get the same result.

    Args:
        network: a derived network, which runs folded for inference where it can, or a function from images
            (N, 3, H, W) to heatmaps.
    """
    dataset = pose_dataset(annotations, data)
    if not len(dataset):
        raise UserError("there is no person to evaluate: the annotations (or detections) hold no usable box")
    pinned = runtime.device.type == "cuda"
    loader = evaluation_loader(dataset, settings.batch_size, data.workers, pinned, runtime.rank, runtime.world_size)
    pairs = annotations.schema.flip_pairs if settings.flip_test else None
    share = -(-len(dataset) // (settings.batch_size * runtime.world_size))
    batches = progress(loader, "scoring", share, shown=runtime.is_main)
    arguments = (batches, runtime.device, pairs, settings.decoding, data.udp)
    if not isinstance(network, PoseNetwork):
        return predict_poses(network, *arguments)
    with _inference(network, runtime) as forward:
        return predict_poses(runtime.precision.wrapped(forward, runtime.device), *arguments)


def rehearse(
    network: PoseNetwork,
    annotations: PoseAnnotations,
    data: DataConfig,
    settings: EvaluateConfig,
    runtime: Runtime,
    images: int,
) -> None:
    """The inference of an evaluation on a batch of so many black crops, for the memory that it takes."""
    pairs = annotations.schema.flip_pairs if settings.flip_test else None
    width, height = data.image_size
    batch = {
        "image": torch.zeros(images, height, width, 3, dtype=torch.uint8),
        "index": np.arange(images), "center": torch.zeros(images, 2), "scale": torch.ones(images, 2),
    }  # fmt: skip
    with _inference(network, runtime) as forward:
        if isinstance(forward, FrozenNetwork):
            forward.left = 1  # soon what comes after some batches
        forward = runtime.precision.wrapped(forward, runtime.device)
        predict_batches(forward, [batch] * 2, runtime.device, pairs, settings.decoding, data.udp)


@contextmanager
def _inference(network: PoseNetwork, runtime: Runtime) -> Iterator[Forward]:
    """The network in its quickest form for inference; one without a form of its own trains on after it."""
    was_training = network.training
    if not network.foldable:
        network.eval()
    try:
        yield quickest(network, runtime.device, runtime.precision.half)
    finally:
        if network.training != was_training:
            network.train(was_training)


def protocol_of(annotations: PoseAnnotations, data: DataConfig, settings: EvaluateConfig) -> dict[str, str]:
    """What is printed beside every number."""
    nms = "none" if settings.nms == "none" else f"{settings.nms} at {settings.nms_threshold}"
    return {
        "boxes": annotations.box_source,
        "split": data.val_split,
        "input": f"{data.image_size[0]}x{data.image_size[1]}" + (" (UDP)" if data.udp else ""),
        "flip": "on" if settings.flip_test else "off",
        "decoding": settings.decoding,
        "NMS": nms,
    }


def evaluate(
    network: PoseNetwork | Forward,
    annotations: PoseAnnotations,
    data: DataConfig,
    settings: EvaluateConfig,
    runtime: Runtime,
    constant: ConstantPose | None = None,
) -> Evaluation:
    """Predict and score a network, or a function as ``predict`` takes it; ``constant`` is scored beside it.

    COCO-style sets get AP and AR, and with ground-truth boxes PCK as well (and errors in px where
    ``evaluate.pixel_error``); MPII gets PCKh.
    """
    poses = predict(network, annotations, data, settings, runtime)
    # A function computes in a precision of its own.
    precision = {"precision": runtime.precision.name} if isinstance(network, PoseNetwork) else {}
    found = _scored(poses, annotations, data, settings, precision)
    if constant is None:
        return found
    scores = list(found.scores)
    for name in constant.poses:
        joints = constant.placed(name, [annotations.persons[i] for i in poses.index], annotations.schema)
        if joints is not None:
            pose = Poses(poses.index, joints, np.ones_like(poses.scores))
            trivial = _scored(pose, annotations, data, settings, precision)
            scores = [one.beside(other, name) for one, other in zip(scores, trivial.scores, strict=True)]
    return Evaluation(scores, found.results, poses)


def _scored(
    poses: Poses, annotations: PoseAnnotations, data: DataConfig, settings: EvaluateConfig, precision: dict[str, str]
) -> Evaluation:
    how = protocol_of(annotations, data, settings) | precision
    results = coco_results(poses, annotations, settings.nms, settings.nms_threshold, settings.keypoint_threshold)
    scores = []
    if annotations.metric == "oks":
        scores.append(score_results(annotations, results, how=how))
    if annotations.metric != "oks" or annotations.box_source == "ground truth":
        how = {name: value for name, value in how.items() if name != "NMS"}
        scores.append(score_poses(annotations, poses.joints, how=how, pck_alpha=settings.pck_alpha))
        if settings.pixel_error:
            scores.append(score_pixels(annotations, poses.joints, how))
    return Evaluation(scores, results, poses)


def main_metric(scores: list[Score]) -> tuple[str, float]:
    """Name and value by which the best checkpoint is chosen: AP, or the mean of PCK(h)."""
    metrics = scores[0].metrics
    name = "AP" if "AP" in metrics else "Mean"
    value = metrics[name]
    return name, float(value) if np.isfinite(value) else -1.0
