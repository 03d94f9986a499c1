"""The ten COCO keypoint numbers from pycocotools, the judge of every number that is reported.

pycocotools itself fails on input that is legal for a custom set: results without an entry, annotations without
``num_keypoints``, ``iscrowd``, ``bbox`` or ``keypoints``. This module completes such input and changes nothing else.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .oks import COCO_SIGMAS

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
MAX_DETECTIONS = 20


def coco_ap(
    dataset: dict,
    results: Sequence[dict],
    sigmas: Sequence[float] = COCO_SIGMAS,
    image_ids: Sequence[int] | None = None,
) -> dict[str, float]:
    """pycocotools' AP and AR of keypoint results, over OKS .50:.05:.95 and at most 20 detections an image.

    Args:
        dataset: COCO keypoint annotations (``images``, ``annotations``, ``categories``); left unchanged.
        results: COCO keypoint results (``image_id``, ``category_id``, ``keypoints`` of 3 K numbers, ``score``); may
            be empty; left unchanged.
        sigmas: (K,) OKS falloff constants.
        image_ids: the images to count, in any order and with repetitions; all without it.

    Returns:
        The METRICS as floats in [0, 1]; -1 where no annotated person is in the range, as pycocotools has it.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_index(dataset, len(sigmas))
        evaluation = COCOeval(truth, _result_index(truth, results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, dtype=np.float64)
        evaluation.params.maxDets = [MAX_DETECTIONS]
        if image_ids is not None:
            evaluation.params.imgIds = sorted({int(i) for i in image_ids})
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(METRICS, map(float, evaluation.stats), strict=True))


def complete_annotation(annotation: dict, num_joints: int) -> dict:
    """A copy with COCO's optional keys filled in: a person without keypoints is one with none labelled."""
    filled = dict(annotation)
    filled.setdefault("iscrowd", 0)
    filled.setdefault("bbox", [0.0, 0.0, 0.0, 0.0])
    filled.setdefault("keypoints", [0] * (3 * num_joints))
    if "num_keypoints" not in filled:
        filled["num_keypoints"] = sum(v > 0 for v in filled["keypoints"][2::3])
    return filled


def coco_index(dataset: dict, num_joints: int) -> COCO:
    """pycocotools' index of annotations given as a dict, each completed; nothing is printed."""
    coco = COCO()
    coco.dataset = {
        "info": dataset.get("info", {}),
        "images": dataset["images"],
        "categories": dataset["categories"],
        "annotations": [complete_annotation(a, num_joints) for a in dataset.get("annotations", [])],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _result_index(truth: COCO, results: Sequence[dict]) -> COCO:
    if results:
        return truth.loadRes([dict(r) for r in results])
    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty
