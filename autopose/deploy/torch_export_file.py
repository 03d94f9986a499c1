"""Files of ``torch.export``: a program that PyTorch loads without this software."""

import io
import json
import warnings
from collections.abc import Callable

import numpy as np
import torch

from autopose.deploy.graph import ExportedPose, sample
from autopose.errors import UserError

DESCRIPTION = "autopose.json"


def torch_export_file(pose: ExportedPose, size_wh: tuple[int, int], description: dict) -> bytes:
    """A file of ``torch.export.save`` with a dynamic batch; ``description`` is its extra file "autopose.json"."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(pose, (sample(size_wh, 2),), dynamic_shapes=({0: batch},))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of weights in another memory format, which it saves well
        torch.export.save(program, buffer, extra_files={DESCRIPTION: json.dumps(description)})
    return buffer.getvalue()


def loaded(file: bytes) -> Callable[[np.ndarray], list[np.ndarray]]:
    """The outputs of a file for images (N, 3, H, W) float32."""
    try:
        module = torch.export.load(io.BytesIO(file)).module()
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"the exported program cannot be loaded: {str(error).splitlines()[0][:160]}") from None

    def run(images: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            found = module(torch.from_numpy(images))
        return [value.numpy() for value in (found if isinstance(found, tuple) else (found,))]

    return run
