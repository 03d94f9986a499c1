"""From heatmaps to poses in image pixels, and to COCO results. N crops, K joints."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from autopose.data.dataset import as_input
from autopose.data.heatmap import decode, to_image
from autopose.data.heatmap_tensors import TENSOR_DECODERS, decode_tensors
from autopose.data.records import PoseAnnotations
from autopose.errors import Diverged
from autopose.metrics.flip import merge_flip
from autopose.metrics.nms import nms_by_image, scaled_box_area
from autopose.metrics.rescore import rescore

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Poses:
    """Predictions for crops of a dataset.

    Attributes:
        index: (N,) position of the crop in the dataset.
        joints: (N, K, 2) px of the image.
        scores: (N, K), heatmap maxima.
    """

    index: np.ndarray
    joints: np.ndarray
    scores: np.ndarray


@torch.inference_mode()
def predict_batches(
    forward: Forward,
    batches: Iterable[dict],
    device: torch.device,
    flip_pairs: tuple[tuple[int, int], ...] | None = None,
    decoding: str = "quarter",
    udp: bool = False,
) -> Poses | None:
    """Run ``forward`` (images to heatmaps) over batches of crops; None where there are none.

    Args:
        flip_pairs: where given, heatmaps are averaged with those of the mirrored image (§4.2), shifted by one pixel
            unless ``udp``.
        decoding: see ``data.heatmap.decode``.
    """
    parts = []
    method = "dark_udp" if decoding == "dark" and udp else decoding
    for batch in batches:
        images = as_input(batch["image"].to(device, non_blocking=True))
        heatmaps = forward(images).float()
        if flip_pairs is not None:
            heatmaps = merge_flip(heatmaps, forward(images.flip(-1)).float(), flip_pairs, shift=not udp)
        coords, scores = decoded(heatmaps, method)
        joints = to_image(coords, batch["center"].numpy(), batch["scale"].numpy(), heatmaps.shape[:1:-1], udp)
        parts.append(Poses(np.asarray(batch["index"]), joints, scores))
    return joined(parts) if parts else None


def decoded(heatmaps: Tensor, method: str = "quarter") -> tuple[np.ndarray, np.ndarray]:
    """``data.heatmap.decode``, where it can be on the heatmaps' device, so that only joints leave it.

    Raises:
        Diverged: heatmaps that are not finite.
    """
    if method not in TENSOR_DECODERS:
        maps = heatmaps.cpu().numpy()
        _check_finite(bool(np.isfinite(maps).all()))
        return decode(maps, method)
    coords, scores = decode_tensors(heatmaps, method)
    finite = torch.isfinite(heatmaps).all()
    found = torch.cat([coords, scores[..., None]], -1).cpu().numpy()
    _check_finite(bool(finite))
    return found[..., :2].astype(np.float64), np.ascontiguousarray(found[..., 2])


def _check_finite(finite: bool) -> None:
    if not finite:
        raise Diverged(
            "the network's output is not finite (NaN or infinite heatmaps): its weights have diverged; lower the "
            "learning rate, or take an earlier checkpoint"
        )


def predict_poses(forward: Forward, batches: Iterable[dict], *arguments, **settings) -> Poses:
    """``predict_batches`` over this process's share, gathered from all processes and sorted by index."""
    return gathered(predict_batches(forward, batches, *arguments, **settings))


def gathered(mine: Poses | None) -> Poses:
    """The poses of all processes' shares, sorted by index; None for a share of nothing."""
    shares: list = [mine]
    if dist.is_initialized() and dist.get_world_size() > 1:
        shares = [None] * dist.get_world_size()
        dist.all_gather_object(shares, mine)
    return joined([share for share in shares if share is not None])


def joined(parts: Sequence[Poses]) -> Poses:
    """One set of poses, sorted by index."""
    index, joints, scores = (np.concatenate([getattr(p, n) for p in parts]) for n in ("index", "joints", "scores"))
    order = np.argsort(index, kind="stable")
    return Poses(index[order], joints[order], scores[order])


def coco_results(
    poses: Poses,
    annotations: PoseAnnotations,
    nms: str = "oks",
    nms_threshold: float = 0.9,
    keypoint_threshold: float = 0.2,
) -> list[dict]:
    """COCO keypoint results: rescored (box score x mean keypoint score), overlapping poses suppressed by image.

    Where a set is scored by PCK or PCKh, every person's pose is kept and carries the person's "annotation_id".
    """
    persons = [annotations.persons[i] for i in poses.index]
    scores = rescore(np.array([p.score for p in persons]), poses.scores, keypoint_threshold)
    image_ids = [p.image_id for p in persons]
    areas = scaled_box_area(np.array([p.scale for p in persons]).reshape(-1, 2))
    by_person = annotations.metric != "oks"
    nms = "none" if by_person else nms
    kept = nms_by_image(image_ids, poses.joints, scores, areas, annotations.schema.sigmas, nms, nms_threshold)
    category = annotations.coco_gt["categories"][0]["id"] if annotations.coco_gt else 1
    keypoints = np.concatenate([poses.joints, poses.scores[..., None]], -1).reshape(len(persons), -1)
    return [
        {
            "image_id": int(image_ids[i]),
            "category_id": category,
            "keypoints": keypoints[i].tolist(),
            "score": float(scores[i]),
            **({"annotation_id": int(persons[i].annotation_id)} if by_person else {}),
        }
        for i in kept
    ]
