"""Scores of results under a stated protocol: OKS-AP by pycocotools, PCKh of MPII, PCK of other sets; and their tables.

Letters: N people, K joints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from autopose.data.checks import integer, number, numbers, read_json, records
from autopose.data.records import PoseAnnotations
from autopose.data.schema import COCO, KeypointSchema, schema_from_category
from autopose.errors import UserError
from autopose.evaluation.result_files import (
    check_results,
    of_categories,
    poses_of_people,
    read_mpii_predictions,
    read_results,
)
from autopose.metrics.ap import MAX_DETECTIONS, METRICS, coco_ap
from autopose.metrics.pck import COLUMNS, PCK_ALPHA, choose_reference, pck_table, pckh, reference_sizes

CONSTANT = "constant pose"
AP_HEADERS = ("AP", "Ap .5", "AP .75", "AP (M)", "AP (L)", "AR", "AR .5", "AR .75", "AR (M)", "AR (L)")


@dataclass(frozen=True)
class Score:
    """Numbers and what they mean.

    Attributes:
        metrics: full precision; AP and AR as fractions, PCK and PCKh in percent.
        counts: images, people and detections that were scored.
        protocol: how they were made, in the order of printing.
        columns: (header, key of ``metrics``) of the literature's table.
        constant: the same metrics of the best constant pose (see ``evaluation.constant_pose``), where it was scored.
    """

    metrics: dict[str, float]
    counts: dict[str, int]
    protocol: dict[str, str]
    columns: tuple[tuple[str, str], ...]
    constant: dict[str, float] = field(default_factory=dict)

    def beside(self, other: Score, name: str) -> Score:
        """With a constant pose's metrics beside its own, if they are better than those already there.

        Better is what has the larger first column of AP, or the larger mean; errors in px have the smaller one.
        """
        key = self.columns[0][1] if self.columns[0][1] == "AP" else "Mean"
        if key in self.metrics:
            better = not self.constant or other.metrics[key] > self.constant[key]
        else:
            key = self.columns[0][1]
            better = not self.constant or other.metrics[key] < self.constant[key]
        if not better:
            return self
        return replace(self, constant=other.metrics, protocol={**self.protocol, CONSTANT: f"{name} of training joints"})

    def table(self, name: str) -> str:
        """The literature's table, three decimals, the constant pose's row below; n/a where nothing was annotated."""
        headers = ["Arch", *(header for header, _ in self.columns)]
        cells = [name, *(_decimal(self.metrics[key]) for _, key in self.columns)]
        rows = [headers, ["---"] * len(headers), cells]
        if self.constant:
            rows.append([CONSTANT, *(_decimal(self.constant[key]) for _, key in self.columns)])
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)

    def description(self) -> str:
        """One line for each fact of the protocol, then the counts."""
        lines = [f"{key}: {value}" for key, value in self.protocol.items()]
        return "\n".join([*lines, ", ".join(f"{count} {what}" for what, count in self.counts.items())])


def _decimal(value: float) -> str:
    return "n/a" if np.isnan(value) or value == -1 else f"{value:.3f}"


def score_results(
    annotations: PoseAnnotations,
    results: str | Path | Sequence[dict],
    *,
    how: Mapping[str, str] | None = None,
    image_ids: Sequence[int] | None = None,
    pck_reference: str | None = None,
    pck_alpha: float = PCK_ALPHA,
) -> Score:
    """Score results by the metric of their dataset: ``oks``, ``pckh`` or ``pck``.

    Args:
        annotations: ground truth; for PCK and PCKh with annotated people, not with a detector's boxes.
        results: COCO keypoint results or their file; for MPII also pred.mat as HRNet writes it.
        how: what is known of the results' making (box source, flip, decoding, NMS), added to the protocol.
        image_ids: the images to count (OKS), all without it.
        pck_reference: ``torso``, ``bbox`` or ``joints``, the size that PCK refers to; None: ``choose_reference``'s.
        pck_alpha: the fraction of it.

    Raises:
        UserError: results that cannot be scored, see ``check_results`` and ``poses_of_people``.
    """
    if annotations.metric == "oks":
        how = _known_of(how, results) | dict(annotations.remarks)
        return score_keypoint_results(
            annotations.coco_gt, results, annotations.schema, how=how, image_ids=image_ids,
            category_ids=annotations.category_ids,
        )  # fmt: skip
    if annotations.metric == "pckh" and isinstance(results, str | Path) and str(results).endswith(".mat"):
        poses = read_mpii_predictions(results, len(annotations.persons), annotations.schema.num_joints)
    else:
        rows, name = read_results(results)
        rows, others = of_categories(rows, name, annotations.category_ids, required=False)
        how = _known_of(how, results) | others
        check_results(rows, name, annotations.schema.num_joints, annotations.images)
        poses = poses_of_people(rows, name, annotations.persons, annotations.schema.num_joints)
    return score_poses(annotations, poses, how=how, pck_reference=pck_reference, pck_alpha=pck_alpha)


def score_keypoint_results(
    ground_truth: dict | str | Path,
    results: str | Path | Sequence[dict],
    schema: KeypointSchema | None = None,
    *,
    how: Mapping[str, str] | None = None,
    image_ids: Sequence[int] | None = None,
    category_ids: Sequence[int] = (),
) -> Score:
    """OKS-AP and AR of COCO keypoint results, computed by pycocotools.

    Args:
        ground_truth: COCO keypoint annotations or their file.
        results: COCO keypoint results or their file; an empty list scores 0.
        schema: joints and sigmas; without it those of the annotation's first category.
        how: what is known of the results' making, added to the protocol.
        image_ids: the images to count, all without it; results of others are then left out.
        category_ids: categories of results that count, as one; without them the annotation's first with joints.

    Raises:
        UserError: files that cannot be read, results that do not fit the annotations.
    """
    dataset, category_id, schema = _checked_truth(ground_truth, schema)
    known = [image["id"] for image in dataset["images"]]
    rows, source = read_results(results)
    rows, others = of_categories(rows, source, category_ids or (category_id,))
    rows = [{**row, "category_id": category_id} for row in rows]
    check_results(rows, source, schema.num_joints, known)
    counted = set(known if image_ids is None else image_ids)
    metrics = coco_ap(dataset, rows, schema.sigmas, image_ids)
    people = [
        a
        for a in dataset["annotations"]
        if a["image_id"] in counted and not a.get("iscrowd") and any(a.get("keypoints", ())[2::3])
    ]
    protocol = {
        "metric": f"OKS-AP, pycocotools {version('pycocotools')}, OKS 0.50:0.05:0.95, maxDets {MAX_DETECTIONS}",
        "sigmas": "COCO" if schema.sigmas == COCO.sigmas else f"of {schema.name}: {list(schema.sigmas)}",
    }
    if any(a["id"] == 0 for a in dataset["annotations"]):
        protocol["caution"] = "an annotation has id 0, which pycocotools never counts as found"
    return Score(
        metrics=metrics,
        counts={
            "images": len(counted),
            "people": len(people),
            "detections": sum(row["image_id"] in counted for row in rows),
        },
        protocol=protocol | _known_of(how, results) | others,
        columns=tuple(zip(AP_HEADERS, METRICS, strict=True)),
    )


def _checked_truth(ground_truth: dict | str | Path, schema: KeypointSchema | None) -> tuple[dict, int, KeypointSchema]:
    """The annotations, the id of their keypoint category and their joints; UserError where pycocotools would fail."""
    named = isinstance(ground_truth, str | Path)
    name = f"'{ground_truth}'" if named else "the annotations"
    dataset = read_json(ground_truth, "annotation file") if named else ground_truth
    categories, images = records(dataset, "categories", name), records(dataset, "images", name)
    if not categories or not images:
        raise UserError(f"{name}: expected at least one category and one image")
    category = next((c for c in categories if c.get("keypoints")), categories[0])
    if schema is None:
        schema = COCO if category.get("keypoints") == list(COCO.joints) else schema_from_category(category)
    for image in images:
        integer(image, "id", f"{name}, an image")
    ids = set()
    for annotation in records(dataset, "annotations", name):
        where = f"{name}, annotation {annotation.get('id')!r:.30}"
        for key in ("id", "image_id", "category_id"):
            integer(annotation, key, where)
        number(annotation, "area", where)
        for key, count in (("keypoints", 3 * schema.num_joints), ("bbox", 4)):
            if key in annotation:
                numbers(annotation, key, count, where)
        ids.add(annotation["id"])
    if len(ids) != len(dataset["annotations"]):
        raise UserError(f"{name}: two annotations have the same id")
    return dataset, integer(category, "id", f"{name}, keypoint category"), schema


def score_poses(
    annotations: PoseAnnotations,
    poses: np.ndarray,
    *,
    how: Mapping[str, str] | None = None,
    pck_reference: str | None = None,
    pck_alpha: float = PCK_ALPHA,
) -> Score:
    """PCKh (``annotations.metric`` pckh) or PCK of one pose for each annotated person.

    Args:
        annotations: N annotated people with joints.
        poses: (N, K, 2) 0-based px; NaN counts as missed.
        how, pck_reference, pck_alpha: as for ``score_results``.

    Raises:
        UserError: unknown reference, or a set without the joints of the torso.
    """
    persons = annotations.persons
    joints = np.stack([p.joints for p in persons])
    visible = np.stack([p.visible for p in persons])
    if annotations.metric == "pckh":
        sizes = np.array([np.nan if p.head_size is None else p.head_size for p in persons])
        metrics = pckh(poses, joints, visible, sizes)
        columns = (*COLUMNS, "Mean", "Mean@0.1")
        protocol = {
            "metric": "PCKh@0.5 and @0.1, head size 0.6 of the head box's diagonal",
            "head boxes": str(annotations.head_source),
        }
    else:
        schema = annotations.schema
        pck_reference = pck_reference or choose_reference(schema.plain_joints, annotations.whole_pictures)
        sizes = _reference_sizes(annotations, joints, visible, pck_reference)
        metrics = pck_table(poses, joints, visible, sizes, schema.joints, pck_alpha, schema.plain_joints)
        columns = tuple(key for key in (*COLUMNS, "Mean") if key in metrics)
        protocol = {"metric": f"PCK@{pck_alpha:g} of the {_REFERENCE_NAMES[pck_reference]}"}
    scored = np.isfinite(sizes)
    if not scored.all():
        protocol["left out"] = f"{int((~scored).sum())} people whose reference size is not annotated"
    return Score(
        metrics=metrics,
        counts={
            "images": len({p.image_id for p in persons}),
            "people": int(scored.sum()),
            "detections": int(np.isfinite(poses).all(axis=(1, 2)).sum()),
        },
        protocol=protocol | dict(annotations.remarks) | _known_of(how, None),
        columns=tuple((column, column) for column in columns),
    )


_REFERENCE_NAMES = {
    "torso": "torso (left shoulder to right hip)",
    "bbox": "longer side of the person's box",
    "joints": "longer side of the labelled joints' extent",
}


def _reference_sizes(
    annotations: PoseAnnotations, joints: np.ndarray, visible: np.ndarray, reference: str
) -> np.ndarray:
    boxes = np.stack([p.bbox for p in annotations.persons])
    try:
        return reference_sizes(joints, visible, boxes, annotations.schema.plain_joints, reference)
    except ValueError as error:
        raise UserError(f"PCK of '{annotations.schema.name}': {error}") from None


def _known_of(how: Mapping[str, str] | None, results: object) -> dict[str, str]:
    if how is not None:
        return dict(how)
    source = f"'{results}'" if isinstance(results, str | Path) else "the results"
    return {"boxes, flip, decoding, NMS": f"as {source} were made; they are scored as they are"}
