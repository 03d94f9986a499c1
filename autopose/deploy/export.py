"""Export of a trained network to a file, checked before it is kept."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from autopose.config import Config
from autopose.data.schema import KeypointSchema
from autopose.deploy.check import check_file
from autopose.deploy.graph import ExportedPose, describe
from autopose.deploy.onnx_file import OnnxNetwork, onnx_file, required
from autopose.deploy.torch_export_file import loaded, torch_export_file
from autopose.errors import UserError
from autopose.files import save
from autopose.models import PoseNetwork

logger = logging.getLogger("autopose")
SUFFIX = {"onnx": ".onnx", "torch_export": ".pt2"}


def exported(network: PoseNetwork, schema: KeypointSchema, config: Config) -> tuple[bytes, float]:
    """The file that ``config.format`` and ``config.export`` ask for, and how far its heatmaps are from PyTorch's.

    Raises:
        UserError: a size that does not fit the network, a decoding that the file cannot hold, a missing package.
        WrongExport: the file computes something else.
    """
    settings, size = config.export, _size(config.data.image_size)
    if config.format == "onnx":
        required("onnxruntime", "checking an ONNX file")
    decoding = config.evaluate.decoding if settings.decode else None
    pose = ExportedPose(network.for_inference(torch.device("cpu")), size, decoding, config.data.udp).eval()
    description = describe(schema, config, decoding)
    if config.format == "onnx":
        file = onnx_file(pose, size, settings.opset, description)
        run = OnnxNetwork(file).run
    else:
        file = torch_export_file(pose, size, description)
        run = loaded(file)
    return file, check_file(run, pose, size, settings.tolerance)


def export_to(path: str | Path, network: PoseNetwork, schema: KeypointSchema, config: Config) -> Path:
    """Write a checked file to ``path`` and log what it is; see ``exported``."""
    path = Path(path)
    if path.suffix != SUFFIX[config.format]:
        raise UserError(f"a file of format={config.format} ends in {SUFFIX[config.format]}, but out is {path}")
    file, difference = exported(network, schema, config)
    save(path, file)
    kind = f"ONNX, opset {config.export.opset}" if config.format == "onnx" else "torch.export"
    size = "x".join(map(str, config.data.image_size))
    logger.info("exported   %s (%s, %.1f MB)", path, kind, len(file) / 1e6)
    logger.info("input      any batch of 3 channels, %s (width x height), normalised RGB", size)
    logger.info("check      heatmaps within %.1e of PyTorch's, joints equal, for batches of 1 and 3", difference)
    return path


def _size(size: Sequence[int]) -> tuple[int, int]:
    return int(size[0]), int(size[1])
