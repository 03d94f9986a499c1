"""ONNX files: making them, and running them by ONNX Runtime."""

import importlib
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from autopose.config import ExportConfig
from autopose.deploy.graph import DECODED, HEATMAPS, INPUT, ExportedPose, sample
from autopose.errors import UserError


def required(name: str, purpose: str) -> ModuleType:
    """An optional package; UserError with the command that installs it where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UserError(f"{purpose} needs the package {package}: pip install {package}") from None


def onnx_file(pose: ExportedPose, size_wh: tuple[int, int], opset: int, description: dict) -> bytes:
    """An ONNX file with a dynamic batch and ``description`` as its metadata, a JSON value a key.

    Raises:
        UserError: onnx is missing.
    """
    onnx = required("onnx", "exporting to ONNX")
    outputs = [HEATMAPS, *(DECODED if pose.decoding else ())]
    model = onnx.load_from_string(onnx_bytes(pose, [sample(size_wh, 2)], [INPUT], outputs, opset))
    model.producer_name = "autopose"
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in description.items()})
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def onnx_bytes(
    module: nn.Module,
    inputs: Sequence[Tensor],
    input_names: Sequence[str],
    output_names: Sequence[str] = (),
    opset: int = ExportConfig.opset,
) -> bytes:
    """A module as ONNX, with a dynamic first axis.

    The exporter is the one that traces (``dynamo=False``), because it exists in all versions of PyTorch that this
    software runs under and needs no package but onnx; a folded network has no branch that a trace would lose.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it deprecates itself at every call
        torch.onnx.export(
            module, tuple(inputs), buffer, dynamo=False, opset_version=opset, input_names=list(input_names),
            output_names=list(output_names), dynamic_axes={n: {0: "batch"} for n in (*input_names, *output_names)},
        )  # fmt: skip
    return buffer.getvalue()


class OnnxNetwork:
    """An ONNX file run by ONNX Runtime: a function from images (N, 3, H, W) to heatmaps, like a network.

    Args:
        file: its path or its bytes.
        threads: of one call; 0: the runtime's choice.
        provider: where it runs, by ONNX Runtime's name.

    Raises:
        UserError: onnxruntime is missing or lacks the provider, or the file cannot be run.
    """

    def __init__(self, file: str | Path | bytes, threads: int = 0, provider: str = "CPUExecutionProvider"):
        runtime = required("onnxruntime", "running an ONNX file")
        if provider not in runtime.get_available_providers():
            raise UserError(f"the installed onnxruntime has no {provider}: pip install onnxruntime-gpu for a GPU")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        what = "the ONNX file" if isinstance(file, bytes) else f"the ONNX file {file}"
        if not isinstance(file, bytes) and not Path(file).is_file():
            raise UserError(f"{what} does not exist")
        source = file if isinstance(file, bytes) else str(file)
        try:
            self.session = runtime.InferenceSession(source, options, providers=[provider])
        except _exceptions() as error:
            raise UserError(f"{what} cannot be run by ONNX Runtime: {str(error).splitlines()[0][:160]}") from None
        self.input = self.session.get_inputs()[0]

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """All outputs for images (N, 3, H, W) float32; UserError where the file does not take them."""
        try:
            return self.session.run(None, {self.input.name: images})
        except _exceptions() as error:
            raise UserError(f"the ONNX file refused its input: {str(error).splitlines()[0][:160]}") from None

    def __call__(self, images: Tensor) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4) of images (N, 3, H, W)."""
        return torch.from_numpy(self.run(np.ascontiguousarray(images.cpu().numpy()))[0])


def _exceptions() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: classes of its own, which have no common base."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = [value for value in vars(state).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*found, RuntimeError, ValueError)
