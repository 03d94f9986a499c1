"""The time of one network in every form in which it can be run, measured side by side. N crops."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from autopose.config import Config
from autopose.deploy.check import check_file
from autopose.deploy.fastest import FOLDED, HALF, ONNX, Form, fastest
from autopose.deploy.graph import ExportedPose, sample
from autopose.deploy.onnx_file import OnnxNetwork, onnx_file, required
from autopose.deploy.quantise import quantised_file
from autopose.errors import UserError
from autopose.kernels import KernelChoice
from autopose.models import PoseNetwork
from autopose.models.frozen import quickest
from autopose.progress import progress
from autopose.runs.precision import FP32, Precision
from autopose.runs.timing import Interleaved, Timing

PREDICTED, REFERENCE, INT8 = "as predict runs it", "PyTorch, reference kernels", "ONNX Runtime, INT8"
FORMS = (PREDICTED, FOLDED, HALF, REFERENCE, ONNX, INT8)
WARM_UP = 3


@dataclass
class Forms:
    """A network's forms: what maps images (N, 3, H, W) to heatmaps, and in words why a form is missing.

    ``predicted`` is the one that predict runs, also the first of ``run``.
    """

    predicted: Form
    run: dict[str, Callable[[Tensor], object]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def forms_of(network: PoseNetwork, config: Config, device: torch.device, precision: Precision = FP32) -> Forms:
    """Every form that this machine can run; an exported one only after it was checked against PyTorch.

    bf16 is measured where it is ``precision``. INT8's ranges are those of noise: its time depends on them as little as
    on the pictures.
    """
    predicted = fastest(network, config.data.image_size, device, precision, after=0)
    found = Forms(predicted, {PREDICTED: predicted.run})
    if not network.foldable:
        found.run[REFERENCE] = _reference(network, config, device)
        found.missing = dict.fromkeys((FOLDED, ONNX, INT8), "an operation of another package")
        return found
    if precision.half:
        found.run[HALF] = precision.wrapped(quickest(network, device, half=True, after=0), device)
    found.run[FOLDED] = quickest(network, device, after=0)
    found.run[REFERENCE] = _reference(network, config, device)
    for name, make in ((ONNX, _onnx), (INT8, _int8)):
        try:
            found.run[name] = make(network, config, device)
        except UserError as error:
            found.missing[name] = str(error)
    return found


def measure(forms: Forms, size_wh: tuple[int, int], batches: tuple[int, ...], rounds: int, device: torch.device):
    """Timings by (form, batch), every form called once a round."""
    functions = {}
    for batch in batches:
        images = sample(size_wh, batch)
        placed = images.to(device, memory_format=torch.channels_last)
        plain = np.ascontiguousarray(images.numpy())
        for name, run in forms.run.items():
            given = plain if isinstance(run, OnnxNetwork) else placed
            call = run.run if isinstance(run, OnnxNetwork) else run
            functions[name, batch] = lambda call=call, given=given: call(given)
    return timed(functions, rounds, device)


def timed(functions: Mapping, rounds: int, device: torch.device) -> dict:
    """``Interleaved.timings`` after a warm-up, without gradients."""
    timer = Interleaved(functions, device.type == "cuda")
    with torch.inference_mode(), fastest_convolutions(device):
        timer.warm_up(WARM_UP)
        for _ in progress(range(rounds), "timing"):
            timer.round()
    return timer.timings()


@contextmanager
def fastest_convolutions(device: torch.device) -> Iterator[None]:
    """cuDNN chooses by measuring, as in predictions: the sizes stay."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device.type == "cuda"
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def rows_of(timings: Mapping[tuple[str, int], Timing]) -> list[dict]:
    """A row {form, batch, p20_ms, p50_ms, p80_ms, rounds, ratio} a timing; ratio to ONNX Runtime's median or None."""
    found = []
    for (name, batch), timing in sorted(timings.items(), key=lambda item: (item[0][1], FORMS.index(item[0][0]))):
        base = timings.get((ONNX, batch))
        ratio = timing.p50_ms / base.p50_ms if base else None
        found.append({"form": name, "batch": batch, **vars(timing), "ratio": ratio})
    return found


def settled(network: PoseNetwork, size_wh: tuple[int, int]) -> PoseNetwork:
    """A new network after statistics of noise were tracked: values neither vanish nor overflow, as in a trained one."""
    before = network.state.momentum
    network.train()
    network.state.momentum = 1.0
    with torch.no_grad():
        network(sample(size_wh, 2, seed=1).to(network.head.predict.weight.device))
    network.state.momentum = before
    return network.eval()


def _reference(network: PoseNetwork, config: Config, device: torch.device) -> PoseNetwork:
    affine = config.space.derived_affine
    other = PoseNetwork(network.space, network.num_joints, affine, KernelChoice.all("reference"))
    other.load_state_dict(network.state_dict())
    return other.place(device).eval()


def _exported(network: PoseNetwork, config: Config) -> bytes:
    size = (int(config.data.image_size[0]), int(config.data.image_size[1]))
    required("onnxruntime", "ONNX Runtime's time")
    pose = ExportedPose(network.for_inference(torch.device("cpu")), size, None, config.data.udp).eval()
    file = onnx_file(pose, size, config.export.opset, {})
    check_file(OnnxNetwork(file).run, pose, size, config.export.tolerance)
    return file


def _onnx(network: PoseNetwork, config: Config, device: torch.device) -> OnnxNetwork:
    return _session(_exported(network, config), device)


def _int8(network: PoseNetwork, config: Config, device: torch.device) -> OnnxNetwork:
    if device.type == "cuda":
        raise UserError("the quantised file is made for processors: measure it by device=cpu")
    size = (int(config.data.image_size[0]), int(config.data.image_size[1]))
    noise = iter([sample(size, 2, seed).numpy() for seed in range(2)])
    # The quantiser speaks through the root logger of what it would like to be done first.
    logging.getLogger().setLevel(logging.ERROR)
    return _session(quantised_file(_exported(network, config), noise), device)


def _session(file: bytes, device: torch.device) -> OnnxNetwork:
    provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
    return OnnxNetwork(file, torch.get_num_threads(), provider)
