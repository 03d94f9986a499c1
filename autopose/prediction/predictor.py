"""Poses of people in pictures that are in memory. P people, K joints, H and W a picture's sides."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from autopose.config import Config
from autopose.data.affine import box_to_center_scale, crop_image, crop_matrix
from autopose.data.schema import KeypointSchema
from autopose.evaluation.inference import predict_batches
from autopose.metrics.rescore import rescore

# OpenCV samples pictures with sides below this.
_LARGEST_SIDE = 32767


@dataclass(frozen=True)
class People:
    """The people of one picture.

    Attributes:
        joints: (P, K, 2) float64, x and y in px of the picture.
        scores: (P, K) of the joints: heatmap maxima, near 1 where the network is sure.
        boxes: (P, 5) x, y, width, height in px, and the box's score.
        person_scores: (P,) box score times the mean of the joint scores above ``evaluate.keypoint_threshold``.
    """

    joints: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    person_scores: np.ndarray

    def __len__(self) -> int:
        return len(self.joints)


class Predictor:
    """Runs a network on boxes of pictures, in batches over all of them.

    Args:
        forward: heatmaps (N, K, h, w) of images (N, 3, H, W).
        schema: the joints.
        config: ``data`` (input size, udp) and ``evaluate`` (flip test, decoding, batch size) are read.
        device: of the network.
    """

    def __init__(
        self, forward: Callable[[Tensor], Tensor], schema: KeypointSchema, config: Config, device: torch.device
    ):
        self.forward, self.schema, self.device = forward, schema, device
        self.data, self.settings = config.data, config.evaluate

    def __call__(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[People]:
        """The people of every picture.

        Args:
            images: (H, W, 3) uint8 RGB, any sizes.
            boxes: (P, 5) of each picture: x, y, width, height in px, score.
        """
        counts = [len(rows) for rows in boxes]
        rows = np.concatenate([np.zeros((0, 5)), *boxes])
        count, pairs = self.schema.num_joints, self.schema.flip_pairs if self.settings.flip_test else None
        batches = self._batches(images, rows, counts)
        found = predict_batches(self.forward, batches, self.device, pairs, self.settings.decoding, self.data.udp)
        joints, scores = (found.joints, found.scores) if found else (np.zeros((0, count, 2)), np.zeros((0, count)))
        person = rescore(rows[:, 4], scores, self.settings.keypoint_threshold)
        ends = np.cumsum(counts)[:-1]
        parts = [np.split(values, ends) for values in (joints, scores, rows, person)]
        return [People(*values) for values in zip(*parts, strict=True)]

    def _batches(self, images, rows: np.ndarray, counts: Sequence[int]) -> Iterator[dict]:
        size = tuple(self.data.image_size)
        centers, scales = box_to_center_scale(rows[:, :4], size[0] / size[1])
        owner = np.repeat(np.arange(len(images)), counts)
        for start in range(0, len(rows), self.settings.batch_size):
            index = np.arange(start, min(start + self.settings.batch_size, len(rows)))
            crops = [
                cut(images[owner[n]], crop_matrix(centers[n], scales[n], 0, size, udp=self.data.udp), size)
                for n in index
            ]
            yield {
                "image": torch.from_numpy(np.stack(crops)),
                "center": torch.from_numpy(centers[index]),
                "scale": torch.from_numpy(scales[index]),
                "index": index,
            }


def cut(image: np.ndarray, matrix: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """``crop_image``, also of pictures with longer sides than OpenCV samples, of which the crop's part is cut first."""
    if max(image.shape[:2]) < _LARGEST_SIDE:
        return crop_image(image, matrix, size_wh)
    linear = np.linalg.inv(matrix[:, :2])
    corners = np.array([[0, 0], [size_wh[0], 0], [0, size_wh[1]], size_wh]) - matrix[:, 2]
    places = corners @ linear.T
    limit = np.array(image.shape[1::-1])
    start = np.clip(np.floor(places.min(0)).astype(int) - 2, 0, limit - 1)
    stop = np.clip(np.ceil(places.max(0)).astype(int) + 2, start + 1, limit)
    step = int(max((stop - start).max() // (_LARGEST_SIDE - 1) + 1, 1))
    part = image[start[1] : stop[1] : step, start[0] : stop[0] : step]
    moved = np.column_stack([matrix[:, :2] * step, matrix[:, :2] @ start + matrix[:, 2]])
    return crop_image(np.ascontiguousarray(part), moved, size_wh)
