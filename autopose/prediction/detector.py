"""A person detector of the user's own as an ONNX file, run by ONNX Runtime. None is bundled.

Understood, by the shapes of what comes out (N candidates, C classes):

- one output (1, 4 + C, N), or (1, N, 4 + C): centres and sides and a score for each class (YOLOv8 and later);
- (1, N, 5 + C): the same with an objectness before the classes (YOLOv5, YOLOv7, YOLOX);
- (1, N, 6): corners, score, class, suppressed already (end-to-end exports);
- two outputs (1, N, 5) and (1, N): corners with scores, and classes (RTMDet and others by mmdeploy).
"""

import ast
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from autopose.errors import UserError

DEFAULT_SIDE = 640
GREY = 114
# End-to-end exports give this many rows at most; YOLOv5 of one class gives thousands of the same width.
MOST_SUPPRESSED = 1000
# What mmdeploy's exports expect: blue, green, red, in 0..255.
BGR_MEAN, BGR_STD = np.array([103.53, 116.28, 123.675], np.float32), np.array([57.375, 57.12, 58.395], np.float32)


@dataclass(frozen=True)
class Layout:
    """How outputs are read: ``decode`` gives corners (N, 4), scores (N,), classes (N,)."""

    name: str
    suppressed: bool
    decode: Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Detector:
    """Finds people's boxes in pictures."""

    def __init__(self, path: str, threshold: float = 0.3, overlap: float = 0.6, person: int = 0):
        """
        Args:
            path: of the ONNX file.
            threshold: least score of a person.
            overlap: intersection over union above which the lesser of two boxes is dropped.
            person: the class that is a person.

        Raises:
            UserError: no ONNX Runtime, no such file, or one that is no detector.
        """
        try:
            import onnxruntime
        except ImportError:
            raise UserError("detector=FILE.onnx needs ONNX Runtime: pip install onnxruntime") from None
        onnxruntime.set_default_logger_severity(4)
        try:
            self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no class
            reason = str(error).splitlines()[0][:120]
            raise UserError(f"the detector {path} cannot be loaded: {reason}") from None
        self.path, self.threshold, self.overlap, self.person = path, threshold, overlap, person
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3:
            raise UserError(
                f"the detector {path} must take one picture (1, 3, H, W), but takes "
                f"{', '.join(str(tuple(each.shape)) for each in inputs)}"
            )
        self.height, self.width = (side if isinstance(side, int) else DEFAULT_SIDE for side in shape[2:])
        self.dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        self.input = inputs[0].name
        names = self.session.get_modelmeta().custom_metadata_map.get("names")
        self.classes = _count(names)
        self.layout: Layout | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(P, 5) x, y, width, height in px and score of the people in (H, W, 3) uint8 RGB, the surest first."""
        letterboxed, zoom, left, top = _letterbox(image, self.width, self.height)
        outputs = [np.asarray(o) for o in self.session.run(None, {self.input: self._tensor(letterboxed)})]
        if self.layout is None:
            self.layout = layout_of([o.shape for o in outputs], self.classes, self.path)
        corners, scores, classes = self.layout.decode([o.astype(np.float32) for o in outputs])
        keep = (scores >= self.threshold) & (classes == self.person) & np.isfinite(corners).all(axis=1)
        corners, scores = corners[keep], scores[keep]
        corners = (corners - [left, top, left, top]) / zoom
        corners[:, 0::2] = corners[:, 0::2].clip(0, image.shape[1])
        corners[:, 1::2] = corners[:, 1::2].clip(0, image.shape[0])
        boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], scores]).reshape(-1, 5)
        boxes = boxes[(boxes[:, 2:4] >= 1).all(axis=1)]
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
        return boxes if self.layout.suppressed else boxes[_suppressed(boxes, self.overlap)]

    def _tensor(self, picture: np.ndarray) -> np.ndarray:
        if len(self.session.get_outputs()) > 1:
            values = (picture[..., ::-1].astype(np.float32) - BGR_MEAN) / BGR_STD
        else:
            values = picture.astype(np.float32) / 255
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None]).astype(self.dtype)


def layout_of(shapes: list[tuple[int, ...]], classes: int | None, path: str) -> Layout:
    """Which of the module's layouts these outputs have; UserError for any other."""
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1:
        _, a, b = shapes[0]
        if b == 6 and a <= MOST_SUPPRESSED:
            return Layout("corners, score, class (end-to-end)", True, lambda o: (o[0][0, :, :4], *o[0][0, :, 4:6].T))
        if 5 <= a < b:
            name = "centres, sides and class scores, by columns (YOLOv8)"
            return Layout(name, False, lambda o: _centred(o[0][0].T, 4))
        if b >= 5:
            first = 5 if b != 84 and (classes is None or b == 5 + classes) else 4
            name = "centres, sides, objectness, class scores (YOLOv5)" if first == 5 else "centres, sides, class scores"
            return Layout(name, False, lambda o: _centred(o[0][0], first))
    if len(shapes) == 2:
        boxes, labels = (0, 1) if len(shapes[0]) == 3 else (1, 0)
        if len(shapes[boxes]) == 3 and shapes[boxes][-1] == 5 and len(shapes[labels]) == 2:
            return Layout(
                "corners with scores, and classes (RTMDet by mmdeploy)", True,
                lambda o: (o[boxes][0, :, :4], o[boxes][0, :, 4], o[labels][0]),
            )  # fmt: skip
    raise UserError(
        f"the outputs of the detector {path} are not understood: {', '.join(map(str, shapes))}; expected (1, 4 + C, "
        "N), (1, N, 5 + C) or (1, N, 6) of C classes, or (1, N, 5) with (1, N)"
    )


def _centred(rows: np.ndarray, first_class: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    of_class = rows[:, first_class:] if rows.shape[1] > first_class else np.ones((len(rows), 1), np.float32)
    objectness = rows[:, 4] if first_class == 5 else 1.0
    best = of_class.argmax(axis=1)
    return np.concatenate([centre - half, centre + half], axis=1), of_class.max(axis=1) * objectness, best


def _letterbox(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float, int, int]:
    """The picture within (height, width), its zoom, and the px to its left and above it."""
    zoom = min(width / image.shape[1], height / image.shape[0])
    size = max(round(image.shape[1] * zoom), 1), max(round(image.shape[0] * zoom), 1)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    canvas = np.full((height, width, 3), GREY, np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas, zoom, left, top


def _suppressed(boxes: np.ndarray, overlap: float) -> list[int]:
    """Indices of the boxes that no better one covers; boxes (P, 5), the best first."""
    if not len(boxes):
        return []
    kept = cv2.dnn.NMSBoxes(boxes[:, :4].tolist(), boxes[:, 4].tolist(), 0.0, overlap)
    return sorted(int(n) for n in np.asarray(kept).ravel())


def _count(names: str | None) -> int | None:
    """How many classes a model's metadata name."""
    try:
        return len(ast.literal_eval(names)) if names else None
    except (ValueError, SyntaxError, TypeError):
        return None
