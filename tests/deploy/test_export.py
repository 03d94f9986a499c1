"""Exported files: what they compute and say, and that a wrong one is never kept."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from autopose.api import Model
from autopose.config import ExportConfig
from autopose.data.heatmap import decode as decode_maps
from autopose.data.heatmap_tensors import decode_tensors
from autopose.deploy.check import WrongExport, check_file
from autopose.deploy.export import export_to
from autopose.deploy.graph import ExportedPose
from autopose.deploy.onnx_file import OnnxNetwork
from autopose.deploy.quantise import quantised_file
from autopose.deploy.torch_export_file import loaded
from autopose.errors import UserError
from autopose.models import PoseNetwork

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
ROOT = Path(__file__).resolve().parents[2]
DECODED = ExportConfig(decode=True)


def batch(count, seed=9):
    return np.random.default_rng(seed).normal(size=(count, 3, 64, 48)).astype(np.float32)


def run_of(path):
    return OnnxNetwork(path).run if path.suffix == ".onnx" else loaded(path.read_bytes())


@pytest.mark.parametrize("kind", ["onnx", "torch_export"])
def test_a_file_computes_what_the_network_does_at_any_batch(kind, network, schema, config, tmp_path):
    path = tmp_path / ("pose.onnx" if kind == "onnx" else "pose.pt2")
    export_to(path, network, schema, replace(config, format=kind, export=DECODED))
    for count in (1, 2, 5):
        images = batch(count)
        with torch.inference_mode():
            truth = network(torch.from_numpy(images)).numpy()
        heatmaps, joints, scores = run_of(path)(images)
        assert np.abs(heatmaps - truth).max() <= 1e-4 and heatmaps.shape == (count, 17, 16, 12)
        places, values = decode_maps(heatmaps)
        np.testing.assert_allclose(joints, places * 4, atol=1e-3)
        np.testing.assert_array_equal(scores, values)


def test_an_onnx_file_says_what_a_user_must_know(network, schema, config, tmp_path):
    export_to(tmp_path / "pose.onnx", network, schema, config)
    model = onnx.load(tmp_path / "pose.onnx")
    about = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert about["joints"] == list(schema.joints) and about["flip_pairs"] == [list(p) for p in schema.flip_pairs]
    assert about["input"]["size"] == [48, 64] and about["input"]["mean"] == [0.485, 0.456, 0.406]
    assert about["decoding"] == "none" and set(about["outputs"]) == {"heatmaps"} and not about["udp"]
    assert {o.domain: o.version for o in model.opset_import}[""] == 17
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)


def random_maps(seed):
    """Maps with peaks everywhere, also on borders, with ties and without any positive value."""
    maps = np.random.default_rng(seed).normal(size=(6, 5, 9, 7)).astype(np.float32).round(1)
    maps[0] = -np.abs(maps[0])
    for k, (y, x) in enumerate([(0, 0), (8, 6), (1, 3), (4, 1), (7, 5)]):
        maps[1, k, y, x] = 9
    return maps


@pytest.mark.parametrize("method", ["quarter", "argmax"])
@pytest.mark.parametrize("seed", range(5))
def test_decoding_in_the_graph_is_that_of_the_evaluation(method, seed):
    maps = random_maps(seed)
    cells, scores = decode_tensors(torch.from_numpy(maps), method)
    places, values = decode_maps(maps, method)
    np.testing.assert_array_equal(cells.numpy(), places)
    np.testing.assert_array_equal(scores.numpy(), values)


def test_a_file_that_computes_something_else_is_not_kept(network, config, tmp_path):
    pose = ExportedPose(network.for_inference(), (48, 64), "quarter", False)
    same = loaded_pose(pose)
    assert check_file(same, pose, (48, 64), 1e-4) == 0
    for wrong in (
        lambda outputs: [outputs[0] + 2e-4, *outputs[1:]],
        lambda outputs: [outputs[0] * np.nan, *outputs[1:]],
        lambda outputs: [outputs[0], outputs[1] + 1, outputs[2]],
        lambda outputs: [outputs[0], outputs[1], outputs[2] * 0.99],
    ):
        with pytest.raises(WrongExport, match="not kept"):
            check_file(lambda images, wrong=wrong: wrong(same(images)), pose, (48, 64), 1e-4)


def loaded_pose(pose):
    def run(images):
        with torch.inference_mode():
            return [value.numpy() for value in pose(torch.from_numpy(images))]

    return run


def test_refusals_are_one_sentence_and_leave_nothing(network, schema, config, tmp_path, monkeypatch):
    cases = {
        "multiple of 8": (replace(config, data=replace(config.data, image_size=[50, 64])), "a.onnx"),
        "ends in .onnx": (config, "a.pb"),
        "quarter and argmax": (
            replace(config, export=DECODED, evaluate=replace(config.evaluate, decoding="dark")),
            "a.onnx",
        ),
    }
    for words, (wrong, name) in cases.items():
        with pytest.raises(UserError, match=words) as error:
            export_to(tmp_path / name, network, schema, wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="export.opset"):
        ExportConfig(opset=99)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="pip install onnx"):
        export_to(tmp_path / "a.onnx", network, schema, config)
    assert not list(tmp_path.iterdir())
    (tmp_path / "b.onnx").write_bytes(b"no model")
    with pytest.raises(UserError, match="cannot be run"):
        OnnxNetwork(tmp_path / "b.onnx")


def test_int8_is_smaller_and_near(network, schema, config, tmp_path):
    path = export_to(tmp_path / "pose.onnx", network, schema, config)
    file = quantised_file(path.read_bytes(), iter([batch(4, seed) for seed in range(3)]))
    exact, small = OnnxNetwork(path).run(batch(3))[0], OnnxNetwork(file).run(batch(3))[0]
    about = {p.key for p in onnx.load_from_string(file).metadata_props}
    ops = [node.op_type for node in onnx.load_from_string(file).graph.node]
    assert "QuantizeLinear" in ops and {"joints", "precision"} <= about
    assert np.abs(exact - small).max() > 0 and np.corrcoef(exact.ravel(), small.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("udp", [False, True])
def test_the_example_finds_the_joints_that_the_model_finds(udp, network, schema, config, tmp_path):
    config = replace(config, data=replace(config.data, udp=udp), evaluate=replace(config.evaluate, flip_test=False))
    model = Model(network, schema, config, torch.device("cpu"))
    picture, box = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8), [20.0, 10.0, 50.0, 60.0]
    cv2.imwrite(str(tmp_path / "photo.png"), cv2.GaussianBlur(picture, (0, 0), 3))
    model.export(tmp_path / "pose.onnx", decode=True)
    script = ROOT / "examples" / "run_onnx.py"
    command = [sys.executable, script, tmp_path / "pose.onnx", tmp_path / "photo.png", *map(str, box)]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert shown.returncode == 0, shown.stderr
    people = model.predict(tmp_path / "photo.png", box)
    found = [line.split() for line in shown.stdout.splitlines()]
    assert [row[0] for row in found] == list(schema.joints)
    np.testing.assert_allclose([[float(row[2]), float(row[4])] for row in found], people.joints[0], atol=0.011)
    np.testing.assert_allclose([float(row[6]) for row in found], people.scores[0], atol=2e-3)
    names = {line.split()[1].split(".")[0] for line in script.read_text().splitlines() if line.startswith("import ")}
    assert names <= {"cv2", "numpy", "onnxruntime"} | sys.stdlib_module_names


def test_the_example_says_what_it_needs(network, schema, config, tmp_path):
    Model(network, schema, config, torch.device("cpu")).export(tmp_path / "pose.onnx")
    Model(network, schema, config, torch.device("cpu")).export(tmp_path / "decoded.onnx", decode=True)
    for file, said in (("pose.onnx", "export it with export.decode=true"), ("decoded.onnx", "cannot be read")):
        command = [sys.executable, ROOT / "examples" / "run_onnx.py", tmp_path / file, tmp_path / "none.png"]
        shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert shown.returncode == 1 and said in shown.stderr and "Traceback" not in shown.stderr


def test_a_network_of_any_kernels_is_exported(network, schema, config, tmp_path):
    from autopose.kernels import KernelChoice

    for choice in ("reference", "fused", "auto"):
        other = PoseNetwork(network.space, 17, choice=KernelChoice.all(choice))
        other.load_state_dict(network.state_dict())
        export_to(tmp_path / f"{choice}.onnx", other.eval(), schema, config)
    assert len(list(tmp_path.glob("*.onnx"))) == 3
