"""A person detector of the user's own as an ONNX file, run by ONNX Runtime. None is bundled.

Understood, by the shapes of what comes out (N candidates, C classes; the names of a file's metadata tell C):

- one output (1, 4 + C, N), or (1, N, 4 + C): centres and sides and a score for each class (YOLOv8 and later);
- (1, N, 5 + C): the same with an objectness before the classes (YOLOv5, YOLOv7), or one candidate a cell (YOLOX);
- (1, N, 6): corners, score, class, suppressed already (end-to-end exports);
- two outputs (1, N, 5) and (1, N): corners with scores, and classes (RTMDet and others by mmdeploy).
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from autopose.errors import UserError

DEFAULT_SIDE = 640
GREY = 114
# End-to-end exports give this many rows at most; YOLOv5 of one class gives thousands of the same width.
MOST_SUPPRESSED = 1000
# Px of a cell in each of a YOLO's three maps.
STRIDES = (8, 16, 32)
# What mmdeploy's exports expect: blue, green, red, in 0..255.
BGR_MEAN, BGR_STD = np.array([103.53, 116.28, 123.675], np.float32), np.array([57.375, 57.12, 58.395], np.float32)
# How a picture (H, W, 3) uint8 RGB becomes the numbers that a detector takes.
PIXELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgb": lambda picture: picture.astype(np.float32) / 255,
    "bgr": lambda picture: picture[..., ::-1].astype(np.float32),
    "bgr_normalised": lambda picture: (picture[..., ::-1].astype(np.float32) - BGR_MEAN) / BGR_STD,
}
Found = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Layout:
    """How outputs are read: ``decode`` gives corners (N, 4), scores (N,), classes (N,); ``pixels`` is what goes in."""

    name: str
    suppressed: bool
    pixels: str
    decode: Callable[[list[np.ndarray]], Found]


class Detector:
    """Finds people's boxes in pictures."""

    def __init__(
        self, path: str, threshold: float = 0.3, overlap: float = 0.6, person: object = "person", pixels: str = "auto"
    ):
        """
        Args:
            path: of the ONNX file.
            threshold: least score of a person.
            overlap: intersection over union above which the lesser of two boxes is dropped.
            person: the class that is a person, by number or by name, or a list of them.
            pixels: what the file takes, of ``PIXELS``; "auto": what files with such outputs take.

        Raises:
            UserError: no ONNX Runtime, no such file, one that is no detector, or that has no such class.
        """
        self.path, self.threshold, self.overlap = path, threshold, overlap
        self.session = _session(path)
        inputs = self.session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or shape[1] != 3 or (isinstance(shape[0], int) and shape[0] != 1):
            raise UserError(
                f"the detector {path} must take one picture (1, 3, H, W), but takes "
                f"{', '.join(str(tuple(each.shape)) for each in inputs)}"
            )
        metadata = self.session.get_modelmeta().custom_metadata_map
        usual = _literal(metadata.get("imgsz"), list) or []
        usual = usual if len(usual) == 2 else [DEFAULT_SIDE, DEFAULT_SIDE]
        self.height, self.width = (n if isinstance(n, int) else m for n, m in zip(shape[2:], usual, strict=True))
        self.dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        self.input = inputs[0].name
        names = _literal(metadata.get("names"), dict)
        self.people = chosen_classes(person, names, path)
        blank = np.full((self.height, self.width, 3), GREY, np.uint8)
        shapes = [output.shape for output in self._outputs(blank, "rgb")]
        self.layout = layout_of(shapes, len(names) if names else None, (self.height, self.width), path)
        self.pixels = self.layout.pixels if pixels == "auto" else pixels
        known = ", ".join(f"{number} {names[number]}" if names else str(number) for number in self.people)
        self.description = f"{self.layout.name}; takes {self.width}x{self.height} px as {self.pixels}; class {known}"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(P, 5) x, y, width, height in px and score of the people in (H, W, 3) uint8 RGB, the surest first."""
        letterboxed, zoom, left, top = _letterbox(image, self.width, self.height)
        outputs = self._outputs(letterboxed, self.pixels)
        corners, scores, classes = self.layout.decode([o.astype(np.float32) for o in outputs])
        keep = (scores >= self.threshold) & np.isin(classes, self.people) & np.isfinite(corners).all(axis=1)
        corners, scores = corners[keep], scores[keep]
        corners = (corners - [left, top, left, top]) / zoom
        corners[:, 0::2] = corners[:, 0::2].clip(0, image.shape[1])
        corners[:, 1::2] = corners[:, 1::2].clip(0, image.shape[0])
        boxes = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2], scores]).reshape(-1, 5)
        boxes = boxes[(boxes[:, 2:4] >= 1).all(axis=1)]
        boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
        return boxes if self.layout.suppressed else boxes[_suppressed(boxes, self.overlap)]

    def _outputs(self, picture: np.ndarray, pixels: str) -> list[np.ndarray]:
        tensor = np.ascontiguousarray(PIXELS[pixels](picture).transpose(2, 0, 1)[None]).astype(self.dtype)
        try:
            return [np.asarray(output) for output in self.session.run(None, {self.input: tensor})]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no class
            reason = str(error).splitlines()[0][:120]
            raise UserError(f"the detector {self.path} fails on a picture: {reason}") from None


def _session(path: str):
    try:
        import onnxruntime
    except ImportError:
        raise UserError("detector=FILE.onnx needs ONNX Runtime: pip install onnxruntime") from None
    onnxruntime.set_default_logger_severity(4)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no class
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"the detector {path} cannot be loaded: {reason}") from None


def chosen_classes(wanted: object, names: dict[int, str] | None, path: str) -> list[int]:
    """Numbers of the classes that count as people.

    Args:
        wanted: number or name, or several.
        names: of the file's classes, None where it names none: then 0 is a person. A file's only class is one too.
    """
    each = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    if not names:
        numbers = [0 if one == "person" else one for one in each]
        if not all(isinstance(one, int) and one >= 0 for one in numbers):
            raise UserError(f"the detector {path} names no classes: give predict.detector_class as a number")
        return numbers
    if wanted == "person" and len(names) == 1:
        return list(names)
    by_name = {str(name).lower(): number for number, name in names.items()}
    numbers = [one if one in names else by_name.get(str(one).lower()) for one in each]
    if None in numbers:
        there = ", ".join(f"{number} {name}" for number, name in names.items())
        raise UserError(
            f"the detector {path} has no class {each[numbers.index(None)]}: give predict.detector_class, a number, a "
            f"name or a list, of {there:.300}"
        )
    return numbers


def layout_of(shapes: Sequence[tuple[int, ...]], classes: int | None, size_hw: tuple[int, int], path: str) -> Layout:
    """Which of the module's layouts these outputs have; UserError for any other.

    Args:
        classes: how many the file names, None: unknown.
        size_hw: of its input in px.
    """
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] == 1:
        found = _of_one(*shapes[0][1:], classes, size_hw)
        if found:
            return found
    if len(shapes) == 2:
        boxes, labels = (0, 1) if len(shapes[0]) == 3 else (1, 0)
        if len(shapes[boxes]) == 3 and shapes[boxes][-1] == 5 and len(shapes[labels]) == 2:
            return Layout(
                "corners with scores, and classes (RTMDet by mmdeploy)", True, "bgr_normalised",
                lambda o: (o[boxes][0, :, :4], o[boxes][0, :, 4], o[labels][0]),
            )  # fmt: skip
    raise UserError(
        f"the outputs of the detector {path} are not understood: {', '.join(map(str, shapes))}"
        f"{f' of {classes} classes' if classes else ''}; expected (1, 4 + C, N), (1, N, 5 + C) or (1, N, 6) of C "
        "classes, or (1, N, 5) with (1, N)"
    )


def _of_one(a: int, b: int, classes: int | None, size_hw: tuple[int, int]) -> Layout | None:
    """The layout of one output (1, a, b)."""
    cells = sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in STRIDES)
    if b == 6 and a <= MOST_SUPPRESSED and a != cells:
        return Layout("corners, score, class (end-to-end)", True, "rgb", lambda o: (o[0][0, :, :4], *o[0][0, :, 4:6].T))
    if 4 + (classes or 1) <= a < b:  # of poses, joints follow the classes
        name = "centres, sides and class scores, by columns (YOLOv8)"
        return Layout(name, False, "rgb", lambda o: _centred(o[0][0].T, 4, classes))
    if b == 84 or (classes and b == 4 + classes):
        return Layout("centres, sides, class scores", False, "rgb", lambda o: _centred(o[0][0], 4))
    if b < 5 or (classes and b != 5 + classes):
        return None
    if a == cells:
        name = "centres, sides, objectness, class scores of cells (YOLOX)"
        return Layout(name, False, "bgr", lambda o: _centred(_in_px(o[0][0], size_hw), 5))
    name = "centres, sides, objectness, class scores (YOLOv5)"
    return Layout(name, False, "rgb", lambda o: _centred(o[0][0], 5))


def _in_px(rows: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """YOLOX's rows in px, which most exports give as offsets from their cells and logarithms of sides in cells."""
    if (rows[:, 2:4] > 0).all():
        return rows
    corners, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[: size_hw[0] // stride, : size_hw[1] // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    corner, stride = np.concatenate(corners), np.concatenate(strides)
    return np.concatenate([(rows[:, :2] + corner) * stride, np.exp(rows[:, 2:4]) * stride, rows[:, 4:]], axis=1)


def _centred(rows: np.ndarray, first: int, classes: int | None = None) -> Found:
    """Centres, sides, an objectness where the classes' scores come ``first`` fifth, and those."""
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    of_class = rows[:, first : first + classes if classes else None]
    if not of_class.shape[1]:
        of_class = np.ones((len(rows), 1), np.float32)
    objectness = rows[:, 4] if first == 5 else 1.0
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


def _literal(text: str | None, kind: type):
    """A value of a model's metadata, None where it is of no such kind."""
    try:
        found = ast.literal_eval(text) if text else None
    except (ValueError, SyntaxError, TypeError):
        return None
    return found if isinstance(found, kind) else None
