"""A sheet of people, truth beside prediction: the best and the worst of an evaluation. N people, K joints."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from autopose.data.checks import read_image
from autopose.data.inspection.sheet import legend
from autopose.data.records import Person, PoseAnnotations
from autopose.data.schema import KeypointSchema
from autopose.evaluation.inference import Poses
from autopose.files import save
from autopose.metrics.pck import box_sizes
from autopose.report.skeleton import joint_colours, paint_pose

FILE = "predictions.png"
CELL = 190
GAP, CAPTION, TITLE = 10, 20, 34
INK, PAPER, SOFT = (43, 47, 54), (255, 255, 255), (120, 126, 136)


def rank(persons: Sequence[Person], joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """People from the best to the worst prediction.

    Args:
        persons: annotated.
        joints: (N, K, 2) px, predicted.

    Returns:
        positions of the people with a labelled joint, best first, and the mean error (N,) of each, as a share of the
        longer side of the box (NaN without a labelled joint).
    """
    truth = np.stack([person.joints for person in persons])
    labelled = np.stack([person.visible for person in persons]) > 0
    error = np.linalg.norm(joints - truth, axis=2) / box_sizes(np.stack([p.bbox for p in persons]))[:, None]
    counts = labelled.sum(axis=1)
    mean = np.where(counts > 0, np.where(labelled, error, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)
    usable = np.flatnonzero(np.isfinite(mean))
    return usable[np.argsort(mean[usable], kind="stable")], mean


def contact_sheet(
    persons: Sequence[Person],
    joints: np.ndarray,
    schema: KeypointSchema,
    read: Callable[[str], np.ndarray],
    columns: int = 4,
    rows: int = 2,
) -> np.ndarray | None:
    """The ``rows`` x ``columns`` best people above, as many of the worst below; (height, width, 3) uint8 RGB.

    Args:
        persons, joints: as for ``rank``.
        read: gives the picture of a file, (H, W, 3) uint8 RGB.

    None where nobody has a labelled joint.
    """
    order, error = rank(persons, joints)
    if not len(order):
        return None
    half = min(columns * rows, max(1, len(order) // 2))
    worst = order[::-1][: min(half, len(order) - half)]
    bands = [("Best predictions", order[:half]), ("Worst predictions", worst)]
    colours = joint_colours(schema)
    parts = []
    for title, picked in bands:
        if not len(picked):
            continue
        cells = [_cell(persons[i], joints[i], error[i], schema, colours, read) for i in picked]
        parts.append(_band(title, cells, columns))
    if not schema.skeleton:
        parts.append(legend(schema.joints, colours, parts[0].shape[1], PAPER))
    return np.concatenate(parts)


def sheet_of(annotations: PoseAnnotations, poses: Poses) -> np.ndarray | None:
    """``contact_sheet`` of predicted people of annotated pictures."""
    persons = [annotations.persons[i] for i in poses.index]
    return contact_sheet(persons, poses.joints, annotations.schema, read_image)


def save_contact_sheet(annotations: PoseAnnotations, poses: Poses | None, folder: Path) -> None:
    """Write the sheet as ``FILE`` into a run's folder; nothing where no person has a labelled joint to compare with."""
    sheet = None if poses is None else sheet_of(annotations, poses)
    if sheet is not None:
        save(folder / FILE, cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())


def _cell(person: Person, predicted: np.ndarray, error: float, schema: KeypointSchema, colours, read) -> np.ndarray:
    picture = read(person.image)
    x, y, width, height = person.bbox
    off = f"{100 * error:.1f}% of the box"
    if width * height > 0.9 * picture.shape[0] * picture.shape[1]:
        # Such a box says nothing of where its person is.
        off = f"{error * max(width, height):.1f} px"
        x, y, width, height = _around(np.concatenate([person.joints[person.visible > 0], predicted]), person.bbox)
    side = 1.3 * max(width, height)
    zoom = CELL / side
    # Pixel centres at whole numbers: the middle of the box comes to the middle of the cell.
    shift = CELL / 2 - 0.5 - zoom * np.array([x + width / 2 - 0.5, y + height / 2 - 0.5])
    matrix = np.array([[zoom, 0, shift[0]], [0, zoom, shift[1]]])
    kind = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    view = cv2.warpAffine(picture, matrix, (CELL, CELL), flags=kind, borderValue=(238, 239, 241))
    found = []
    for points, seen in ((person.joints, person.visible > 0), (predicted, np.ones(len(predicted), bool))):
        painted = view.copy()
        paint_pose(painted, points * zoom + shift, seen, schema.skeleton, colours)
        found.append(painted)
    cell = np.full((CELL + CAPTION, 2 * CELL + 2, 3), PAPER, np.uint8)
    cell[:CELL, :CELL], cell[:CELL, CELL + 2 :] = found
    _write(cell, "truth", 2, CELL + 14, SOFT)
    _write(cell, f"prediction, off by {off}", CELL + 4, CELL + 14, SOFT)
    return cell


def _around(points: np.ndarray, box: np.ndarray) -> tuple[float, float, float, float]:
    """x, y, width, height of the part of a box that holds all points and some of what is around them."""
    low, high = box[:2], box[:2] + box[2:]
    margin = 0.15 * np.ptp(points, axis=0).max() + 4
    start = np.clip(points.min(axis=0) - margin, low, high - 1)
    x, y, width, height = *start, *(np.clip(points.max(axis=0) + margin, start + 1, high) - start)
    return x, y, width, height


def _band(title: str, cells: Sequence[np.ndarray], columns: int) -> np.ndarray:
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    sheet = np.full((TITLE + rows * (height + GAP), GAP + columns * (width + GAP), 3), PAPER, np.uint8)
    _write(sheet, title, GAP, 22, INK, 0.6)
    for n, cell in enumerate(cells):
        top, left = TITLE + (n // columns) * (height + GAP), GAP + (n % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _write(picture: np.ndarray, text: str, x: int, y: int, colour: tuple, size: float = 0.4) -> None:
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)
