"""INT8 by ONNX Runtime's static quantiser, its ranges taken from pictures of the training split."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autopose.config import Config
from autopose.data.dataset import as_input
from autopose.data.stream import Loader
from autopose.deploy.graph import INPUT
from autopose.deploy.onnx_file import required
from autopose.progress import progress
from autopose.runs.datasets import load_annotations, pose_dataset

BATCH = 8


def calibration_batches(config: Config) -> Iterator[np.ndarray]:
    """Crops (N, 3, H, W) of ``export.calibration_images`` people of the training split, spread evenly over it."""
    dataset = pose_dataset(load_annotations(config.data, "train"), config.data)
    count = min(config.export.calibration_images, len(dataset))
    keys = [(int(i), None) for i in np.linspace(0, len(dataset) - 1, count)]
    batches = [keys[start : start + BATCH] for start in range(0, count, BATCH)]
    for batch in progress(Loader(dataset, batches, config.data.workers), "taking ranges", len(batches)):
        yield as_input(batch["image"]).contiguous().numpy()


def quantised_file(file: bytes, batches: Iterator[np.ndarray]) -> bytes:
    """The ONNX file with 8-bit weights and activations (QDQ, weights by channel) and the same metadata.

    The last convolution stays in float32: it costs little, and its heatmaps decide places by small differences.
    """
    onnx = required("onnx", "quantising to INT8")
    quantization = required("onnxruntime.quantization", "quantising to INT8")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict | None:
            images = next(batches, None)
            return None if images is None else {INPUT: images}

    model = onnx.load_from_string(file)
    last = [node.name for node in model.graph.node if node.op_type == "Conv"][-1]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantization.quantize_static(
            source, target, Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            op_types_to_quantize=["Conv", "Concat", "Relu", "Add", "MaxPool"], nodes_to_exclude=[last],
        )  # fmt: skip
        found = onnx.load(target)
    onnx.helper.set_model_props(found, {p.key: p.value for p in model.metadata_props} | {"precision": '"int8"'})
    return found.SerializeToString()
