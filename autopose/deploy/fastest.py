"""The form in which a network predicts: the fastest on the machine that gives its numbers. N crops, K joints."""

import importlib.util
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autopose.config import ExportConfig
from autopose.deploy.graph import ExportedPose
from autopose.deploy.onnx_file import OnnxNetwork, onnx_file
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.models.frozen import AFTER, FrozenNetwork, quickest, traced
from autopose.models.inference import InferenceNetwork
from autopose.runs.precision import Precision
from autopose.space.macs import count_macs

logger = logging.getLogger("autopose")
PLAIN, FOLDED, HALF = "PyTorch", "PyTorch, folded", "PyTorch, folded, bf16"
ONNX = "ONNX Runtime, float32"
# Multiply-adds of a crop from which on bfloat16 is faster on a processor that has instructions for it: below that,
# an operation takes less time than its weights take to be brought into place (docs/results.md).
HALF_FROM = 0.03e9
# Of a heatmap, whose peak is 1 where the network is sure: what two orders of a sum may differ by.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Form:
    """How a network predicts.

    Attributes:
        name: in words.
        precision: what it computes in.
        run: images (N, 3, H, W) to heatmaps (N, K, H / 4, W / 4), on the network's device.
    """

    name: str
    precision: Precision
    run: Callable[[Tensor], Tensor]


def fastest(
    network: PoseNetwork, size_wh: Sequence[int], device: torch.device, precision: Precision, after: int = AFTER
) -> Form:
    """The form for crops of one size: it depends on network, device and installed packages alone, on no timing.

    On a processor and in float32 it is ONNX Runtime where onnx and onnxruntime are installed, else the traced network;
    both take over after the first calls, since making them takes the time of many. Between bfloat16 and float32 the
    size of the network decides where ``precision`` was left to the machine.

    Args:
        size_wh: of a crop, in px.
        after: calls of the folded network before it is replaced by the faster form.
    """
    precision = _of_size(precision, network, size_wh, device)
    if not network.foldable:
        return Form(PLAIN, precision, precision.wrapped(network, device))
    if device.type != "cpu" or precision.half:
        run = precision.wrapped(quickest(network, device, precision.half), device)
        return Form(HALF if precision.half else FOLDED, precision, run)
    installed = all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))
    freeze = by_onnx_runtime if installed else traced
    run = FrozenNetwork(network.for_inference(device), after, freeze=freeze)
    return Form(ONNX if installed else FOLDED, precision, run)


def by_onnx_runtime(network: InferenceNetwork, images: Tensor) -> Callable[[Tensor], Tensor]:
    """The network run by ONNX Runtime for images of this size; traced where that fails or would change its heatmaps."""
    size = (images.shape[-1], images.shape[-2])
    try:
        file = onnx_file(ExportedPose(network, size, None, False).eval(), size, ExportConfig().opset, {})
        found = OnnxNetwork(file, torch.get_num_threads())
        truth = network(images)
        error = float((found(images) - truth).abs().max())
        if error <= TOLERANCE * max(1.0, float(truth.abs().max())):
            return found
        problem = f"its heatmaps differ by {error:.1g}"
    except UserError as failure:
        problem = str(failure)
    logger.warning("caution    PyTorch runs the network, not ONNX Runtime: %s", problem)
    return traced(network, images)


def _of_size(precision: Precision, network: PoseNetwork, size_wh: Sequence[int], device: torch.device) -> Precision:
    if not precision.half or precision.explicit or device.type != "cpu":
        return precision
    space = network.space
    macs = count_macs(space.macro, space.beta, [b.cells() for b in space.branches], size_wh, network.num_joints)
    if macs >= HALF_FROM:
        return precision
    return Precision("fp32", f"auto: bf16 gains nothing in a network of {macs / 1e9:.2g} GMACs a crop", False)
