"""Crops and targets made on the device, in batches (``data.crops=device``): workers only read pixels and draw numbers.

Letters: N people, K joints, T pixels of all people together, H and W the input's height and width, h and w the
heatmap's. The arithmetic is that of OpenCV's ``warpAffine`` (5.0): places in float32, rounded once a product and sum.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from autopose.data.dataset import PoseDataset, SampleKey

# What bilinear sampling reads beyond a place's own pixel, and what float32 places are off.
_BORDER = 2


@dataclass(frozen=True)
class Cutting:
    """What all samples of a dataset share: sizes (width, height) of input and heatmap, σ in cells, and ``udp``."""

    size_wh: tuple[int, int]
    heatmap_wh: tuple[int, int]
    sigma: float
    udp: bool


class UncutDataset(Dataset):
    """The samples of a ``PoseDataset``, same keys and same draws, before their crops are cut."""

    def __init__(self, dataset: PoseDataset):
        self.dataset = dataset
        self.cutting = Cutting(dataset.size_wh, dataset.heatmap_wh, float(dataset.sigma), dataset.udp)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> dict:
        """One sample.

        Returns:
            pixels (height * width * 3,) uint8, the part of the picture that the crop reads; window (4,) int64, its x,
            y, width and height in px of the picture; matrix (2, 3) float32 from crop to picture; joints (K, 2) float64
            in px of the crop; visible (K,) float32; index; cutting.

        Raises:
            UserError: the image is missing or corrupt.
        """
        index, seed = key
        person = self.dataset.annotations.persons[index]
        source, (left, top), width = self.dataset.pixels(person)
        view = self.dataset.view(person, seed, width)
        matrix, joints, visible = self.dataset.geometry(person, view, width)
        back = cv2.invertAffineTransform(matrix)
        x0, y0, x1, y1 = _reads(back, self.cutting.size_wh)
        x0, x1 = (int(np.clip(x, left, left + source.shape[1])) for x in (x0, x1))
        y0, y1 = (int(np.clip(y, top, top + source.shape[0])) for y in (y0, y1))
        pixels = np.array(source[y0 - top : y1 - top, x0 - left : x1 - left]).reshape(-1)
        return {
            "pixels": torch.from_numpy(pixels),
            "window": torch.tensor([x0, y0, x1 - x0, y1 - y0]),
            "matrix": torch.from_numpy(back.astype(np.float32)),
            "joints": torch.from_numpy(joints),
            "visible": torch.from_numpy(np.asarray(visible, np.float32)),
            "index": index,
            "cutting": self.cutting,
        }


def _reads(back: np.ndarray, size_wh: tuple[int, int]) -> list[int]:
    """x0, y0, x1, y1 of the pixels that a crop reads, by the matrix from crop to picture; the last two not inside."""
    width, height = size_wh
    corners = back @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    first, last = np.floor(corners.min(axis=1)) - _BORDER, np.ceil(corners.max(axis=1)) + _BORDER
    return [int(value) for value in np.clip([*first, *last], -(2**31), 2**31)]


def collate(samples: list[dict]) -> dict:
    """A batch of ``UncutDataset``'s samples: pixels end to end, the rest stacked."""
    stacked = {name: torch.stack([sample[name] for sample in samples]) for name in _STACKED}
    return {
        "pixels": torch.cat([sample["pixels"] for sample in samples]),
        "index": torch.tensor([sample["index"] for sample in samples]),
        "cutting": samples[0]["cutting"],
        **stacked,
    }


_STACKED = ("window", "matrix", "joints", "visible")


def cut(batch: dict, device: torch.device) -> dict[str, Tensor]:
    """What ``PoseDataset`` gives of a batch of ``collate``'s, made on the device.

    Returns:
        image (N, H, W, 3) uint8, target (N, K, h, w) and target_weight (N, K) float32.
    """
    cutting = batch["cutting"]
    pixels, *rest = (batch[name].to(device, non_blocking=True) for name in ("pixels", *_STACKED))
    window, matrix, joints, visible = rest
    target, weight = gaussian_targets(joints, visible, cutting)
    return {"image": crops(pixels, window, matrix, cutting.size_wh), "target": target, "target_weight": weight}


def crops(pixels: Tensor, window: Tensor, matrix: Tensor, size_wh: tuple[int, int]) -> Tensor:
    """Sample crops bilinearly; outside of the windows is zero (``affine.crop_image``, in batches).

    Args:
        pixels: (3 T,) uint8 RGB of the windows, end to end.
        window: (N, 4) int64 x, y, width, height in px of each one's picture.
        matrix: (N, 2, 3) float32 from crop to picture.
        size_wh: W and H.

    Returns:
        (N, H, W, 3) uint8.
    """
    # A pixel is four bytes, read at once; the first stands for all that lie outside.
    packed = pad(pixels.view(-1, 3), (0, 1, 1, 0)).view(torch.int32).flatten()
    areas = window[:, 2] * window[:, 3]
    offset = areas.cumsum(0) - areas + 1
    # One person's numbers stay in a processor's cache, a batch's do not.
    step = 1 if pixels.device.type == "cpu" else len(window)
    parts = zip(window.split(step), matrix.split(step), offset.split(step), strict=True)
    return torch.cat([_sampled(packed, *part, size_wh) for part in parts])


def _sampled(packed: Tensor, window: Tensor, matrix: Tensor, offset: Tensor, size_wh: tuple[int, int]) -> Tensor:
    x, dx = _places(matrix[:, 0], size_wh)
    y, dy = _places(matrix[:, 1], size_wh)
    left, top, width, height = (side.view(-1, 1, 1) for side in window.unbind(1))
    x, y = x - left, y - top
    inside_x, inside_y = (
        [(at >= 0) & (at < width) for at in (x, x + 1)],
        [(at >= 0) & (at < height) for at in (y, y + 1)],
    )
    first = offset.view(-1, 1, 1) + y * width + x
    rows = []
    for row in (0, 1):
        taps = []
        for column in (0, 1):
            index = torch.where(inside_x[column] & inside_y[row], first + (row * width + column), 0)
            taps.append(packed[index].view(torch.uint8).view(*index.shape, 4).float())
        rows.append(taps[0].addcmul(dx, taps[1] - taps[0]))
    return rows[0].addcmul_(dy, rows[1] - rows[0]).round_().to(torch.uint8)[..., :3]


def _places(row: Tensor, size_wh: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A coordinate in the picture of every pixel of crops by a row (n, 3) of their matrices: whole part, and rest.

    Returns:
        (n, H, W) int64 and (n, H, W, 1) float32.
    """
    along, down, start = (value.view(-1, 1, 1) for value in row.unbind(1))
    y = torch.arange(size_wh[1], dtype=torch.float32, device=row.device).view(1, -1, 1)
    x = torch.arange(size_wh[0], dtype=torch.float64, device=row.device)
    # OpenCV rounds the row's product and sum each, and x's together.
    place = (x * along + (y * down + start).double()).float()
    whole = place.floor()
    return whole.long(), (place - whole).unsqueeze(3)


@cache
def _grid(cutting: Cutting, device: torch.device) -> tuple[Tensor, Tensor]:
    """Width and height (2,) of a heatmap, and px of the crop a cell; made once, since the host waits for the copy."""
    size, grid = (torch.tensor(s, dtype=torch.float64, device=device) for s in (cutting.size_wh, cutting.heatmap_wh))
    return grid, (size - 1) / (grid - 1) if cutting.udp else size / grid


def gaussian_targets(joints: Tensor, visible: Tensor, cutting: Cutting) -> tuple[Tensor, Tensor]:
    """``heatmap.encode`` in batches.

    Args:
        joints: (N, K, 2) float64 in px of the crop.
        visible: (N, K) float32.
        cutting: sizes, σ, and the convention.

    Returns:
        target (N, K, h, w) and weight (N, K) float32.
    """
    grid, stride = _grid(cutting, joints.device)
    places = joints / stride
    cells = (places + 0.5).trunc()
    radius = ceil(3 * cutting.sigma)
    outside = ((cells - radius >= grid) | (cells + radius + 1 < 0)).any(2)
    weight = visible.clamp(max=1).masked_fill(outside, 0)
    peaks = places if cutting.udp else cells
    sides = []
    for axis, length in enumerate(cutting.heatmap_wh):
        at = torch.arange(length, dtype=torch.float64, device=joints.device)
        near = (at - cells[..., axis, None]).abs() <= radius
        values = torch.exp((at - peaks[..., axis, None]).square() / (-2 * cutting.sigma**2))
        sides.append(torch.where(near, values, 0.0).float())
    used = (weight > 0.5).float()[..., None, None]
    return sides[1][..., :, None] * used * sides[0][..., None, :], weight
