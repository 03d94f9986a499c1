"""The comparison of an exported file with PyTorch that comes before "done". N crops, K joints."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from autopose.data.heatmap import decode
from autopose.deploy.graph import ExportedPose, sample

BATCHES = (1, 3)


class WrongExport(RuntimeError):
    """An exported file computes something else than the network."""


def check_file(
    run: Callable[[np.ndarray], Sequence[np.ndarray]], pose: ExportedPose, size_wh: tuple[int, int], tolerance: float
) -> float:
    """Compare a file's outputs with those of the network, at several batch sizes.

    Joints must be equal, except where a smaller difference than the heatmaps' decides their place.

    Args:
        run: the file's outputs for images (N, 3, H, W) float32.
        pose: what was exported.
        size_wh: width and height of the images.
        tolerance: largest difference of heatmaps.

    Returns:
        The largest difference of heatmaps.

    Raises:
        WrongExport: heatmaps or joints differ.
    """
    worst = 0.0
    for count in BATCHES:
        images = sample(size_wh, count, seed=count)
        with torch.inference_mode():
            truth = pose.network(images).numpy()
        heatmaps, *decoded = run(images.numpy())
        difference = float(np.abs(heatmaps - truth).max())
        if not difference <= tolerance:
            raise WrongExport(f"the file's heatmaps differ from PyTorch's by {difference:.1e}: it was not kept")
        method = pose.decoding or "quarter"
        (mine, scores), (theirs, _) = decode(heatmaps, method), decode(truth, method)
        apart = (mine != theirs).any(-1)
        if (apart & (_margin(truth) > 2 * difference)).any():
            raise WrongExport("the file gives other joints than PyTorch: it was not kept")
        if decoded:
            places = mine * pose.stride.numpy()
            if np.abs(decoded[0] - places).max() > 1e-3 or not np.array_equal(decoded[1], scores):
                raise WrongExport("the file decodes its own heatmaps to other joints: it was not kept")
        worst = max(worst, difference)
    return worst


def _margin(maps: np.ndarray) -> np.ndarray:
    """(N, K): the least difference that decides a place: between the two highest cells, and between the neighbours."""
    width, flat = maps.shape[3], maps.reshape(*maps.shape[:2], -1)
    best = flat.argmax(-1)[..., None]
    second, first = np.moveaxis(np.partition(flat, -2)[..., -2:], -1, 0)
    margin = np.minimum(first - second, np.abs(first))
    for step in (1, width):
        after, before = (np.take_along_axis(flat, (best + s) % flat.shape[-1], -1)[..., 0] for s in (step, -step))
        margin = np.minimum(margin, np.abs(after - before))
    return margin
