"""Crops of persons as training and evaluation samples.

Letters: K joints, H and W the input's height and width, h and w the heatmap's.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from autopose.data.affine import crop_image, crop_matrix, transform_points
from autopose.data.augment import PRESETS, Augmentation, View, draw_view
from autopose.data.crop_cache.regions import Margin
from autopose.data.heatmap import encode
from autopose.data.pictures import read_picture
from autopose.data.records import Person, PoseAnnotations
from autopose.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STRIDE = 4

SampleKey = tuple[int, int | tuple[int, ...] | None]
_MEAN, _STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
_GAIN, _OFFSET = 1 / (255 * _STD), -_MEAN / _STD


@cache
def _constants(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and summand of a row of pixels, (3 * width,): as long as that, processors take them by vectors."""
    return torch.from_numpy(np.tile(_GAIN, width)).to(device), torch.from_numpy(np.tile(_OFFSET, width)).to(device)


def as_input(crops: Tensor) -> Tensor:
    """Crops as the network reads them, by ImageNet's mean and deviation, computed on their device.

    Args:
        crops: (N, H, W, 3) uint8 RGB.

    Returns:
        (N, 3, H, W) float32, channels_last.
    """
    gain, offset = _constants(crops.shape[2], crops.device)
    rows = crops.flatten(2).to(torch.float32).mul_(gain).add_(offset)  # (N, H, 3 * W)
    return rows.view(crops.shape).permute(0, 3, 1, 2)


class PoseDataset(Dataset):
    """Samples by key (index, seed): the person's position and what all randomness of the sample is drawn from.

    With seed None there is no augmentation. The same key gives the same sample in every process.
    """

    def __init__(
        self,
        annotations: PoseAnnotations,
        size_wh: Sequence[int],
        augmentation: Augmentation = PRESETS["none"],
        *,
        sigma: float = 2,
        udp: bool = False,
        cache: bool = False,
        cache_workers: int = 4,
    ):
        """
        Args:
            annotations: persons to crop.
            size_wh: width and height of the network's input in px, multiples of 4.
            augmentation: for keys with a seed.
            sigma: of the target's Gaussian in heatmap px.
            udp: unbiased data processing in crop and target.
            cache: decode every image once and keep it in memory, 3 bytes a pixel; for small sets.
            cache_workers: threads that fill the cache.

        Raises:
            UserError: with `cache`, an image is missing or corrupt; the annotations' crop cache reaches less far.
        """
        self.annotations = annotations
        self.size_wh = (int(size_wh[0]), int(size_wh[1]))
        self.heatmap_wh = (self.size_wh[0] // STRIDE, self.size_wh[1] // STRIDE)
        self.augmentation = augmentation
        self.sigma = sigma
        self.udp = udp
        if annotations.crops is not None:
            self._check_margin(annotations.crops.margin)
        self._images = _decode_all(annotations, cache_workers) if cache else {}

    def _check_margin(self, margin: Margin) -> None:
        needed = Margin.of(self.augmentation, self.size_wh)
        if not margin.covers(needed):
            raise UserError(
                f"the crop cache holds crops for {margin}, but an input of {self.size_wh[0]}x{self.size_wh[1]} px with "
                f"this augmentation needs {needed}: use data.cache=memory, or give data.image_size the same aspect"
            )

    def __len__(self) -> int:
        return len(self.annotations.persons)

    def __getitem__(self, key: SampleKey) -> dict:
        """One sample.

        Returns:
            image (H, W, 3) uint8, see `as_input`; target (K, h, w) and target_weight (K,) float32; center and scale
            (2,) float64 of the crop before mirroring and rotation are undone, i.e. as annotated for a key without seed;
            index.

        Raises:
            UserError: the image is missing or corrupt.
        """
        index, seed = key
        person = self.annotations.persons[index]
        picture = self._picture(person)
        view = self.view(person, seed, picture.shape[1])
        crop, joints, visible = self.crop(picture, person, view)
        target, weight = encode(joints, visible, self.size_wh, self.heatmap_wh, sigma=self.sigma, udp=self.udp)
        return {
            "image": torch.from_numpy(crop),
            "target": torch.from_numpy(target),
            "target_weight": torch.from_numpy(weight.reshape(-1)),
            "center": torch.from_numpy(np.asarray(view.center, np.float64)),
            "scale": torch.from_numpy(np.asarray(view.scale, np.float64)),
            "index": index,
        }

    def _picture(self, person: Person) -> np.ndarray:
        if self.annotations.crops is not None:
            return self.annotations.crops.picture(person)
        if person.image in self._images:
            return self._images[person.image]
        return read_picture(self.annotations.images[person.image_id])

    def pixels(self, person: Person) -> tuple[np.ndarray, tuple[int, int], int]:
        """Pixels (height, width, 3) that crops of a person can need, their corner x, y, and the picture's width."""
        if self.annotations.crops is not None:
            return self.annotations.crops.region(person)
        picture = self._picture(person)
        return picture, (0, 0), picture.shape[1]

    def view(self, person: Person, seed: int | tuple[int, ...] | None, image_width: int) -> View:
        """The view that a sample's seed draws, of a picture so many px wide."""
        if seed is None:
            return View(person.center, person.scale)
        return draw_view(
            self.augmentation,
            np.random.default_rng(seed),
            person.center,
            person.scale,
            person.joints,
            person.visible,
            self.annotations.schema,
            image_width,
        )

    def crop(self, picture: np.ndarray, person: Person, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cut a view out of a picture, mirror included, in one resampling.

        Args:
            picture: (height, width, 3) uint8.
            person: whose joints go along.
            view: the crop.

        Returns:
            (H, W, 3) uint8; joints (K, 2) in px of the crop and visibility (K,), left and right swapped if mirrored.
        """
        matrix, joints, visible = self.geometry(person, view, picture.shape[1])
        return crop_image(picture, matrix, self.size_wh), joints, visible

    def geometry(self, person: Person, view: View, image_width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A view's matrix (2, 3) from picture to crop, mirror included, and joints and visibility as in `crop`."""
        matrix = crop_matrix(view.center, view.scale, view.rotation, self.size_wh, udp=self.udp)
        joints, visible = person.joints, person.visible
        if view.flip:
            # x -> width - 1 - x, folded into the matrix: the crop of the mirrored image.
            matrix = matrix @ np.array([[-1.0, 0, image_width - 1], [0, 1, 0], [0, 0, 1]])
            order = list(self.annotations.schema.flip_order)
            joints, visible = joints[order], visible[order]
        return matrix, transform_points(joints, matrix), visible


def _decode_all(annotations: PoseAnnotations, workers: int) -> dict[str, np.ndarray]:
    files = {person.image: annotations.images[person.image_id] for person in annotations.persons}
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        return dict(zip(files, pool.map(read_picture, files.values()), strict=True))
