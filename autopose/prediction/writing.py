"""What a prediction leaves: pictures, videos, COCO results, a table. P people, K joints."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from autopose.data.schema import KeypointSchema
from autopose.errors import UserError
from autopose.files import save
from autopose.report.skeleton import joint_colours, paint_label, paint_pose

from .frames import Frame
from .predictor import People

# Smaller pictures are drawn enlarged, videos are not.
DRAWN_SIDE = 800
_KEEP = {"pictures": (".jpg", ".jpeg", ".png", ".webp", ".bmp"), "videos": (".mp4",)}


def drawn(
    image: np.ndarray,
    people: People,
    schema: KeypointSchema,
    threshold: float,
    labels: Sequence[str] = (),
    enlarge: bool = True,
) -> np.ndarray:
    """The picture with people over it, (H', W', 3) uint8 RGB.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: of it.
        schema: joints, skeleton, mirror pairs.
        threshold: joints with a lower score are left out.
        labels: a text a person.
        enlarge: small pictures by a whole factor.
    """
    zoom = max(DRAWN_SIDE // max(image.shape[:2]), 1) if enlarge else 1
    size = (image.shape[1] * zoom, image.shape[0] * zoom)
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if zoom > 1 else image.copy()
    canvas = np.ascontiguousarray(canvas)
    colours = joint_colours(schema)
    for n, (joints, scores) in enumerate(zip(people.joints, people.scores, strict=True)):
        # A pixel's centre moves with its enlargement.
        points = (joints + 0.5) * zoom - 0.5
        paint_pose(canvas, points, scores >= threshold, schema.skeleton, colours, scores)
        if n < len(labels):
            paint_label(canvas, labels[n], people.boxes[n, :4] * zoom)
    return canvas


class Writer:
    """Writes frame by frame below a folder: ``pictures/``, ``videos/``, ``results/keypoints.{json,csv}``.

    Nothing half-written stays: a video gets its name when it is complete, results when the writer is left.
    """

    def __init__(self, folder: Path, schema: KeypointSchema, threshold: float, draw: bool, ids: dict[str, int]):
        """
        Args:
            folder: of the run.
            schema: the network's joints.
            threshold: of the joints that are drawn.
            draw: write pictures and videos.
            ids: COCO's image ids by name, where they are known.
        """
        self.folder, self.schema, self.threshold, self.draw, self.ids = folder, schema, threshold, draw, ids
        self.results: list[dict] = []
        self.files: list[str] = []
        self.people = self.pictures = self.hidden = self.joints = 0
        self._numbers: dict[tuple[str, int | None], int] = {}
        self._video: cv2.VideoWriter | None = None
        self._video_name, self._video_path = "", Path()
        self._written: set[Path] = set()
        self._table = io.StringIO()
        self._rows = csv.writer(self._table, lineterminator="\n")
        axes = [f"{name}_{axis}" for name in schema.joints for axis in ("x", "y", "score")]
        self._rows.writerow(["file", "frame", "track", "x", "y", "width", "height", "score", *axes])

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._close(complete=kind is None)
        # What was found before a stop is worth keeping; after an error of ours it may be wrong.
        if kind is None or kind.__name__ == "Interrupted":
            save(self.folder / "results" / "keypoints.json", json.dumps(self.results))
            save(self.folder / "results" / "keypoints.csv", self._table.getvalue())

    def write(self, frame: Frame, people: People, tracks: np.ndarray | None) -> None:
        """One frame and its people; ``tracks`` are their numbers, if they were followed."""
        self.pictures += 1
        self.people += len(people)
        self.joints += people.scores.size
        self.hidden += int((people.scores < self.threshold).sum())
        key = (frame.name, frame.number)
        self._numbers.setdefault(key, self.ids.get(frame.name, len(self._numbers)))
        for n in range(len(people)):
            self._note(frame, people, n, None if tracks is None else int(tracks[n]), self._numbers[key])
        if not self.draw:
            return
        labels = [] if tracks is None else [str(track) for track in tracks]
        if frame.number is None:
            picture = drawn(frame.image, people, self.schema, self.threshold, labels)
            self._picture(frame.name, picture)
        else:
            self._frame(frame, drawn(frame.image, people, self.schema, self.threshold, labels, enlarge=False))

    def _note(self, frame: Frame, people: People, n: int, track: int | None, number: int) -> None:
        joints, scores = people.joints[n], people.scores[n]
        keypoints = np.column_stack([joints, scores]).round(3).ravel().tolist()
        row = {
            "image_id": number, "category_id": 1, "keypoints": keypoints, "score": float(people.person_scores[n]),
            "bbox": [round(float(v), 2) for v in people.boxes[n, :4]], "file_name": frame.name,
        }  # fmt: skip
        if frame.number is not None:
            row["frame"] = frame.number
        if track is not None:
            row["track_id"] = track
        self.results.append(row)
        box = [f"{v:.2f}" for v in people.boxes[n, :4]]
        number_of = "" if frame.number is None else frame.number
        score = f"{people.person_scores[n]:.4f}"
        self._rows.writerow([frame.name, number_of, "" if track is None else track, *box, score, *keypoints])

    def _picture(self, name: str, picture: np.ndarray) -> None:
        path = self._target("pictures", name, ".png")
        done, data = cv2.imencode(path.suffix, picture[..., ::-1])
        if not done:
            raise UserError(f"the picture {path} cannot be written as {path.suffix}")
        save(path, data.tobytes())
        self.files.append(path.relative_to(self.folder / "pictures").as_posix())

    def _frame(self, frame: Frame, picture: np.ndarray) -> None:
        if self._video is None or self._video_name != frame.name:
            self._close(complete=True)
            self._video_path = self._target("videos", frame.name, ".mp4")
            path = _partial(self._video_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            size = (picture.shape[1], picture.shape[0])
            self._video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), frame.rate, size)
            self._video_name = frame.name
            if not self._video.isOpened():
                raise UserError(f"the video {path} cannot be written: this OpenCV has no MPEG-4, or the disk refuses")
        self._video.write(np.ascontiguousarray(picture[..., ::-1]))

    def _close(self, complete: bool) -> None:
        if self._video is None:
            return
        self._video.release()
        _partial(self._video_path).replace(self._video_path)
        self._video = None

    def _target(self, kind: str, name: str, suffix: str) -> Path:
        """Where to write what came from ``name``: its ending is kept where it can be, and no two share a file."""
        path = self.folder / kind / name
        if path.suffix.lower() not in _KEEP[kind]:
            path = path.with_suffix(suffix)
            if path in self._written:
                path = self.folder / kind / f"{name}{suffix}"
        while path in self._written:
            path = path.with_name(f"{path.stem}_{path.suffix}")
        self._written.add(path)
        return path


def _partial(path: Path) -> Path:
    return path.with_name(f".partial-{path.name}")
