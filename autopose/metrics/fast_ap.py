"""OKS-AP on arrays for the reward of a search: pycocotools' numbers, vectorised over images.

pycocotools walks over images, area ranges, thresholds, detections and people in Python. Here only pairs of a
detection and a person whose OKS reaches the lowest threshold are kept; detections of equal rank in their images are
matched at once, for all area ranges and thresholds.

Letters: I images, G annotated people, D detections, K joints, P pairs, A area ranges, T thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ap import MAX_DETECTIONS, METRICS, complete_annotation
from .oks import COCO_SIGMAS, oks_pairs

AREA_RANGES = np.array([[0, 1e5**2], [32**2, 96**2], [96**2, 1e5**2]], dtype=np.float64)
OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class TruthIndex:
    """Annotated people of a set of images as arrays, sorted by image; built once, scored against many times.

    Attributes:
        image_ids: (I,) sorted, unique.
        first: (I + 1,) people of image i are first[i]..first[i + 1] - 1, in the annotation's order.
        joints: (G, K, 2) px.
        visible: (G, K).
        areas: (G,) px^2.
        boxes: (G, 4) x, y, w, h in px.
        crowd: (G,) True where any number of detections may match.
        ignored: (A, G) True where a match counts neither way: crowds, people without labelled joints or outside of
            the area range.
        matchable: (G,) False for an annotation with id 0, which pycocotools cannot tell from no match.
        sigmas: (K,).
    """

    image_ids: np.ndarray
    first: np.ndarray
    joints: np.ndarray
    visible: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    ignored: np.ndarray
    matchable: np.ndarray
    sigmas: np.ndarray


def index_truth(
    dataset: dict,
    sigmas: Sequence[float] = COCO_SIGMAS,
    image_ids: Sequence[int] | None = None,
    category_id: int | None = None,
) -> TruthIndex:
    """Index COCO keypoint annotations for ``fast_ap``.

    Args:
        dataset: COCO keypoint annotations.
        sigmas: (K,) OKS falloff constants.
        image_ids: the images to count, in any order and with repetitions; all without it.
        category_id: the one category to count; the dataset's first without it.
    """
    ids = [image["id"] for image in dataset["images"]] if image_ids is None else image_ids
    ids = np.unique(np.asarray(ids, dtype=np.int64))
    category = dataset["categories"][0]["id"] if category_id is None else category_id
    known = set(ids.tolist())
    people = [a for a in dataset.get("annotations", []) if a["image_id"] in known and a["category_id"] == category]
    people = [complete_annotation(a, len(sigmas)) for a in sorted(people, key=lambda a: a["image_id"])]
    count = len(people)
    keypoints = np.array([a["keypoints"] for a in people], dtype=np.float64).reshape(count, len(sigmas), 3)
    areas = np.array([a["area"] for a in people], dtype=np.float64)
    crowd = np.array([a["iscrowd"] for a in people], dtype=bool)
    uncounted = crowd | (np.array([a["num_keypoints"] for a in people], dtype=np.int64) == 0)
    return TruthIndex(
        image_ids=ids,
        first=np.searchsorted([a["image_id"] for a in people], np.append(ids, np.iinfo(np.int64).max)),
        joints=np.ascontiguousarray(keypoints[..., :2]),
        visible=keypoints[..., 2],
        areas=areas,
        boxes=np.array([a["bbox"] for a in people], dtype=np.float64).reshape(count, 4),
        crowd=crowd,
        ignored=uncounted | _outside_ranges(areas),
        matchable=np.array([a["id"] != 0 for a in people], dtype=bool),
        sigmas=np.asarray(sigmas, dtype=np.float64),
    )


def fast_ap(truth: TruthIndex, image_ids: np.ndarray, poses: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The ten COCO keypoint numbers, equal to pycocotools' for one category.

    Args:
        truth: see ``index_truth``; detections of images that it does not hold are left out.
        image_ids: (D,).
        poses: (D, K, 2) or (D, K, 3) px.
        scores: (D,) of the detections.

    Returns:
        The METRICS as floats in [0, 1]; -1 where no annotated person is in the range.
    """
    image, poses, scores, rank = _sorted_detections(truth, image_ids, poses, scores)
    detection, person, oks = candidate_pairs(truth, image, poses)
    matched = match(truth, detection, person, oks, rank)
    precision, recall = accumulate(truth, poses, scores, matched)
    return summarize(precision, recall)


def _outside_ranges(areas: np.ndarray) -> np.ndarray:
    """(A, N) True where an area (N,) is outside of the range; the limits are inside."""
    return (areas < AREA_RANGES[:, :1]) | (areas > AREA_RANGES[:, 1:])


def _sorted_detections(
    truth: TruthIndex, image_ids: np.ndarray, poses: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Detections by image, best first (stable), at most MAX_DETECTIONS of each; image index and rank in the image."""
    image_ids, scores = np.asarray(image_ids, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    poses = np.asarray(poses, dtype=np.float64)
    poses = poses[..., :2] if poses.size else np.zeros((0, len(truth.sigmas), 2))
    known = np.flatnonzero(np.isin(image_ids, truth.image_ids))
    image = np.searchsorted(truth.image_ids, image_ids[known])
    order = np.lexsort((-scores[known], image))
    image, known = image[order], known[order]
    rank = np.arange(len(image)) - np.searchsorted(image, image)
    best = rank < MAX_DETECTIONS
    return image[best], poses[known[best]], scores[known[best]], rank[best]


def candidate_pairs(
    truth: TruthIndex, image: np.ndarray, poses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of a detection and a person of its image whose OKS reaches the lowest threshold.

    Args:
        image: (D,) index of the detections' images in ``truth.image_ids``.
        poses: (D, K, 2).

    Returns:
        detection index, person index and OKS, (P,) each, by detection.
    """
    people = truth.first[image + 1] - truth.first[image]
    detection = np.repeat(np.arange(len(image)), people)
    person = np.arange(len(detection)) + np.repeat(truth.first[image] - (np.cumsum(people) - people), people)
    oks = oks_pairs(poses, truth.joints, truth.visible, truth.areas, truth.boxes, truth.sigmas, detection, person)
    near = oks >= OKS_THRESHOLDS[0]
    return detection[near], person[near], oks[near]


def match(
    truth: TruthIndex, detection: np.ndarray, person: np.ndarray, oks: np.ndarray, rank: np.ndarray
) -> np.ndarray:
    """Greedy matching of each image's detections, best score first, to the person of the highest OKS still free.

    People that count are preferred to ignored ones, the later of equal ones to the earlier, and a crowd stays free.

    Args:
        detection, person, oks: (P,) see ``candidate_pairs``.
        rank: (D,) of a detection in its image, 0 is the best.

    Returns:
        (A, T, D) index of the matched person, -1 where there is none.
    """
    ranges, thresholds = len(AREA_RANGES), np.minimum(OKS_THRESHOLDS, 1 - 1e-10)
    num_people, num_detections = len(truth.areas), len(rank)
    matched = np.full((ranges * num_detections, len(thresholds)), -1, dtype=np.int64)
    free = np.ones((ranges * num_people, len(thresholds)), dtype=bool)
    area = np.repeat(np.arange(ranges), len(detection))
    d, p, value = np.tile(detection, ranges), np.tile(person, ranges), np.tile(oks, ranges)
    # Of the pairs of one detection the last one that is free wins, so they are sorted from worst to best.
    order = np.lexsort((p, value, ~truth.ignored[area, p], d, area, rank[d]))
    area, d, p, value = area[order], d[order], p[order], value[order]
    reached = value[:, None] >= thresholds
    slot, target = area * num_detections + d, area * num_people + p
    start_of_slot = np.flatnonzero(np.diff(slot, prepend=-1))
    bounds = np.searchsorted(rank[d[start_of_slot]], np.arange(MAX_DETECTIONS + 1))
    for first, stop in zip(bounds[:-1], bounds[1:], strict=True):
        if first == stop:
            continue
        starts = start_of_slot[first:stop]
        end = start_of_slot[stop] if stop < len(start_of_slot) else len(slot)
        rows = np.arange(starts[0], end)
        usable = reached[rows] & free[target[rows]]
        winner = np.maximum.reduceat(np.where(usable, rows[:, None], -1), starts - starts[0], axis=0)
        found = winner >= 0
        matched[slot[starts]] = np.where(found, p[winner], -1)
        taken, column = winner[found], np.nonzero(found)[1]
        taken, column = taken[~truth.crowd[p[taken]]], column[~truth.crowd[p[taken]]]
        free[target[taken], column] = False
    return matched.reshape(ranges, num_detections, len(thresholds)).transpose(0, 2, 1)


def accumulate(
    truth: TruthIndex, poses: np.ndarray, scores: np.ndarray, matched: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Precision at 101 recalls and the final recall.

    Args:
        poses: (D, K, 2); the area of an unmatched one is that of its joints' bounding box.
        scores: (D,).
        matched: (A, T, D) see ``match``.

    Returns:
        precision (A, T, 101) and recall (A, T); -1 for a range without a person that counts.
    """
    ranges, thresholds, _ = matched.shape
    precision, recall = np.full((ranges, thresholds, len(RECALLS)), -1.0), np.full((ranges, thresholds), -1.0)
    outside = _outside_ranges(np.ptp(poses[..., 0], axis=1) * np.ptp(poses[..., 1], axis=1))
    order = np.argsort(-scores, kind="mergesort")
    for a in range(ranges):
        positives = np.count_nonzero(~truth.ignored[a])
        if positives == 0:
            continue
        partner = matched[a][:, order]
        met = partner >= 0
        ignored = met & np.append(truth.ignored[a], False)[partner]
        met &= np.append(truth.matchable, False)[partner]
        counted = ~(ignored | (~met & outside[a][order]))
        place = np.cumsum(counted, axis=1, dtype=np.int32)
        for t in range(thresholds):
            # Precision and recall only rise at a true positive, so the others need no place on the curve.
            seen = place[t, met[t] & counted[t]].astype(np.float64)
            true = np.arange(1.0, len(seen) + 1)
            falling = np.maximum.accumulate((true / (seen + np.spacing(1)))[::-1])[::-1]
            reached = np.searchsorted(true / positives, RECALLS, side="left")
            precision[a, t] = np.append(falling, 0.0)[reached]
            recall[a, t] = len(seen) / positives
    return precision, recall


def summarize(precision: np.ndarray, recall: np.ndarray) -> dict[str, float]:
    """The METRICS from ``accumulate``'s precision (A, T, 101) and recall (A, T), ranges all, medium, large."""
    half, three_quarters = 0, 5
    values = []
    for table in (precision, recall):
        values += [table[0], table[0, half], table[0, three_quarters], table[1], table[2]]
    return {name: float(np.mean(value)) for name, value in zip(METRICS, values, strict=True)}
