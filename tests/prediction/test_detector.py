"""Detectors of every layout that is understood, as small ONNX graphs that always say the same."""

import numpy as np
import pytest

from autopose.config.schema import DETECTOR_INPUTS
from autopose.errors import UserError
from autopose.prediction.detector import PIXELS, Detector, chosen_classes

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIDE = 64
# A person and a lesser one upon it, a dog, and somebody unsure; corners in px of the letterboxed picture.
CORNERS = np.array([[8, 16, 24, 48], [9, 17, 24, 48], [30, 20, 50, 40], [2, 20, 10, 30]], np.float32)
SCORES, CLASSES = np.array([0.9, 0.6, 0.8, 0.1], np.float32), np.array([0, 0, 1, 0])


def rows(kind: str) -> list[np.ndarray]:
    """The outputs of a layout for the four boxes."""
    centre, sides = (CORNERS[:, :2] + CORNERS[:, 2:]) / 2, CORNERS[:, 2:] - CORNERS[:, :2]
    scores = np.zeros((4, 2), np.float32)
    scores[np.arange(4), CLASSES] = SCORES
    if kind == "yolov8":
        found = np.concatenate([centre, sides, scores], 1).T
        return [np.repeat(found, 4, axis=1)[:, :][None][:, :, ::4].repeat(3, axis=2)]
    if kind == "yolov5":
        return [np.concatenate([centre, sides, np.ones((4, 1), np.float32), scores], 1)[None]]
    if kind == "yolov8-pose":  # a class, then 17 joints, whose numbers are no scores
        joints = np.full((4, 51), 50, np.float32)
        found = np.concatenate([centre, sides, SCORES[:, None], joints], 1).T
        return [np.repeat(found, 15, axis=1)[None]]
    if kind.startswith("yolox"):
        found = np.zeros((84, 7), np.float32)  # 8 x 8 cells, 4 x 4, 2 x 2
        found[:, 2:4] = 1
        found[-4:] = np.concatenate([centre, sides, np.ones((4, 1), np.float32), scores], 1)
        if kind == "yolox":  # as the network gives it: offsets from the corners of the last map's cells of 32 px
            found[:, 2:4] = np.log(found[:, 2:4] / 32)
            found[-4:, :2] = found[-4:, :2] / 32 - [[0, 0], [1, 0], [0, 1], [1, 1]]
        return [found[None]]
    if kind == "end-to-end":
        return [np.concatenate([CORNERS, SCORES[:, None], CLASSES[:, None]], 1)[None].astype(np.float32)]
    if kind == "rtmdet":
        return [np.concatenate([CORNERS, SCORES[:, None]], 1)[None], CLASSES[None]]
    return [np.zeros((1, 3), np.float32)]


def detector(tmp_path, kind: str, names: str | None = None, sides: tuple = (SIDE, SIDE), **options) -> Detector:
    """The constants of ``rows`` behind an input picture."""
    helper, outputs, nodes = onnx.helper, [], []
    for n, value in enumerate(rows(kind)):
        tensor = onnx.numpy_helper.from_array(value)
        nodes.append(helper.make_node("Constant", [], [f"out{n}"], value=tensor))
        outputs.append(helper.make_tensor_value_info(f"out{n}", tensor.data_type, value.shape))
    picture = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, *sides))
    model = helper.make_model(helper.make_graph(nodes, "detector", [picture], outputs),
                              opset_imports=[helper.make_opsetid("", 17)], ir_version=8)  # fmt: skip
    if names:
        helper.set_model_props(model, {"names": names, "imgsz": "[64, 64]"})
    path = tmp_path / f"{kind}.onnx"
    onnx.save(model, path)
    return Detector(str(path), **options)


@pytest.mark.parametrize(
    "kind, names, doubled",
    [
        ("yolov8", None, False),
        ("yolov8-pose", "{0: 'person'}", False),
        ("yolov5", "{0: 'person', 1: 'dog'}", False),
        ("yolox", None, False),
        ("yolox in px", None, False),
        ("end-to-end", None, True),
        ("rtmdet", None, True),
    ],
)
def test_people_are_found_in_px_of_the_picture(kind, names, doubled, tmp_path):
    """The picture is twice as wide as high, so the letterbox has bars above and below, and shrinks it by two."""
    found = detector(tmp_path, kind, names)(np.zeros((64, 128, 3), np.uint8))
    if kind == "yolov8-pose":  # the dog is a person there, who reaches to the bars too
        np.testing.assert_allclose(found[1], [60, 8, 40, 40, 0.8], atol=1e-3)
        found = found[:1]
    expected = [[16, 0, 32, 64, 0.9]]  # (8, 16) .. (24, 48) less 16 px of bar, times two
    if doubled:  # of what is suppressed already, nothing more is dropped
        expected.append([18, 2, 30, 62, 0.6])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_thresholds_and_classes_are_obeyed(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    assert len(detector(tmp_path, "yolov8", threshold=0.05)(picture)) == 2
    assert len(detector(tmp_path, "yolov8", overlap=0.99)(picture)) == 2
    np.testing.assert_allclose(detector(tmp_path, "yolov8", person=1)(picture), [[30, 20, 20, 20, 0.8]], atol=1e-3)
    assert len(detector(tmp_path, "yolov8", person=7)(picture)) == 0


def test_classes_are_chosen_by_name_or_number_or_a_list_of_them(tmp_path):
    names, picture = "{0: 'Person', 1: 'dog'}", np.zeros((64, 64, 3), np.uint8)
    for wanted, expected in (("person", [0.9]), ("dog", [0.8]), (1, [0.8]), (["dog", 0], [0.9, 0.8])):
        found = detector(tmp_path, "yolov8", names, person=wanted)(picture)
        np.testing.assert_allclose(found[:, 4], expected, atol=1e-6)
    with pytest.raises(UserError, match=r"no class cat: give predict.detector_class.* of 0 Person, 1 dog"):
        detector(tmp_path, "yolov8", names, person=["dog", "cat"])
    with pytest.raises(UserError, match="names no classes: give predict.detector_class as a number"):
        detector(tmp_path, "yolov8", person="dog")
    assert chosen_classes("person", {0: "mouse"}, "a file of one class") == [0]


def test_a_file_of_any_size_is_given_pictures_of_the_size_that_it_names(tmp_path):
    found = detector(tmp_path, "yolov8", "{0: 'person', 1: 'dog'}", ("height", "width"))
    assert (found.height, found.width) == (64, 64)
    assert (detector(tmp_path, "yolov8", None, ("height", "width")).height) == 640


@pytest.mark.parametrize("kind, expected", [("yolov8", (255, 0, 0)), ("yolox", (0, 0, 255)), ("rtmdet", None)])
def test_pictures_become_the_numbers_that_the_file_takes(kind, expected, tmp_path):
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    found = detector(tmp_path, kind)
    pixel = PIXELS[found.pixels](red)[0, 0]
    if kind == "yolov8":
        expected = np.array(expected) / 255
    if expected is None:
        expected = (np.array([0, 0, 255]) - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    np.testing.assert_allclose(pixel, expected, atol=1e-5)
    assert detector(tmp_path, kind, pixels="bgr").pixels == "bgr"
    assert set(DETECTOR_INPUTS) == {"auto", *PIXELS}


def test_what_is_no_detector_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"are not understood: \(1, 3\); expected"):
        detector(tmp_path, "classifier")
    with pytest.raises(UserError, match=r"of 5 classes; expected"):
        detector(tmp_path, "yolov5", str(dict(enumerate("abcde"))), person="a")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"text.onnx cannot be loaded"):
        Detector(str(tmp_path / "text.onnx"))
