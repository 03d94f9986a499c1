"""AutoPose from Python: ``model = autopose.load(path); people = model.predict(image)``.

Letters: P people, K joints, H and W a picture's sides.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from autopose.config import Config, from_checkpoint
from autopose.data.checks import read_image
from autopose.data.schema import KeypointSchema, schema_from_dict
from autopose.deploy.fastest import fastest
from autopose.errors import UserError
from autopose.models import Backbone, PoseNetwork
from autopose.prediction.box_files import Boxes
from autopose.prediction.boxes import as_boxes
from autopose.prediction.frames import open_source
from autopose.prediction.predictor import People, Predictor
from autopose.prediction.stream import predicted
from autopose.prediction.tracking import Tracker
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.clock import Clock
from autopose.runs.precision import FP32, Precision, chosen_precision
from autopose.runs.resolve import load_network
from autopose.runs.runtime import chosen_device

Picture = np.ndarray | str | os.PathLike


class Model:
    """A trained network that finds the joints of people.

    Attributes:
        joints: K names.
        skeleton: pairs of indices into ``joints`` that limbs join.
        flip_pairs: pairs of indices of left and right joints.
        image_size: (width, height) in px of the crops that the network sees.
        network: the ``PoseNetwork``, in plain PyTorch; config: what it was trained under.
    """

    def __init__(
        self, network: PoseNetwork, schema: KeypointSchema, config: Config, device: torch.device,
        precision: Precision = FP32,
    ):  # fmt: skip
        self.network, self.schema, self.config = network, schema, config
        self.joints, self.skeleton, self.flip_pairs = schema.joints, schema.skeleton, schema.flip_pairs
        self.image_size = tuple(config.data.image_size)
        form = fastest(network, config.data.image_size, device, precision)
        self._predictor = Predictor(form.run, schema, config, device)

    def predict(self, image: Picture, boxes: Sequence | np.ndarray | None = None) -> People:
        """The joints of the people in a picture.

        Args:
            image: (H, W, 3) RGB, (H, W, 4) or (H, W) uint8, or the path of an image file.
            boxes: (P, 4) x, y, width, height in px of the people, (P, 5) with scores, or one box; None: one person who
                fills the picture.

        Returns:
            ``People``: joints (P, K, 2) in px of the picture, scores (P, K), boxes (P, 5), person_scores (P,).

        Raises:
            UserError: no picture, or a box that holds nothing of it.
        """
        return self.predict_many([image], [boxes])[0]

    def predict_many(self, images: Sequence[Picture], boxes: Sequence | None = None) -> list[People]:
        """``predict`` for several pictures, whose people share batches; ``boxes`` has an entry a picture."""
        pictures = [as_picture(image) for image in images]
        wanted = [None] * len(pictures) if boxes is None else list(boxes)
        if len(wanted) != len(pictures):
            raise UserError(f"boxes must have an entry for each of {len(pictures)} pictures, but have {len(wanted)}")
        return self._predictor(pictures, [as_boxes(b, p) for b, p in zip(wanted, pictures, strict=True)])

    def draw(self, image: Picture, people: People, threshold: float = 0.2) -> np.ndarray:
        """The picture with the people over it, (H', W', 3) uint8 RGB; small pictures are enlarged by a whole factor.

        Args:
            image: as for ``predict``.
            people: what it returned.
            threshold: joints with a lower score are left out.
        """
        from autopose.prediction.writing import drawn

        return drawn(as_picture(image), people, self.schema, threshold)

    def predict_video(
        self, source: str | os.PathLike, boxes: object = None, smooth: bool = False
    ) -> Iterator[tuple[np.ndarray, People, np.ndarray]]:
        """Frame after frame of a video: (H, W, 3) uint8 RGB, its people, and their numbers (P,) from frame to frame.

        Args:
            source: a file, or a camera's index as text.
            boxes: as for the command ``predict``; None: the whole frame is one person's box.
            smooth: filter the joints of each person (One-Euro).

        Raises:
            UserError: no video there, or no frame in it.
        """
        opened, known = open_source(str(source)), Boxes(boxes)
        tracker: Tracker | None = None
        for frame, people in predicted(opened.frames(), known, None, self._predictor, Clock()):
            tracker = tracker or Tracker(self.schema.sigmas, frame.rate or 25.0, smooth)
            yield frame.image, *tracker(people)
        if tracker is None:
            raise UserError(opened.problems[0] if opened.problems else f"{source} holds no frame")

    def export(self, path: str | os.PathLike, decode: bool = False) -> Path:
        """Write an ONNX file (".onnx") or one of torch.export (".pt2") that runs without this software.

        Args:
            path: its suffix chooses the format.
            decode: joints and scores come out beside the heatmaps.

        Returns:
            The path, after the file was checked against PyTorch.

        Raises:
            UserError: another suffix, or a missing package.
        """
        from autopose.deploy.export import SUFFIX, export_to

        kinds = {suffix: kind for kind, suffix in SUFFIX.items()}
        kind = kinds.get(Path(path).suffix)
        if kind is None:
            raise UserError(f"an exported file ends in {' or '.join(kinds)}, but was named {path}")
        config = replace(self.config, format=kind, export=replace(self.config.export, decode=decode))
        return export_to(path, self.network, self.schema, config)


def load(path: str | os.PathLike, device: str | None = None, precision: str = "auto") -> Model:
    """The model of a training checkpoint.

    Args:
        path: of ``checkpoints/best.pt`` or ``last.pt`` of a training.
        device: as in ``torch.device``; None: a CUDA device where there is one, else the CPU.
        precision: of what it computes: "fp32", "bf16", or "auto": bf16 where the device multiplies it
            and the network is large enough to gain by it.

    Raises:
        UserError: no checkpoint of a training, or a device that PyTorch does not see.
    """
    place = torch.device(device or chosen_device("auto"))
    chosen_device(place.type)
    content = read_checkpoint(path, "train")
    config = from_checkpoint(content["config"], Config(), [])
    network = load_network(content, config, place)
    chosen = chosen_precision(precision, place.type)
    return Model(network, schema_from_dict(content["state"]["schema"]), config, place, chosen)


def backbone(path: str | os.PathLike) -> Backbone:
    """The trained network of a training checkpoint without its head.

    Returns:
        a module that maps images (N, 3, H, W), normalised as crops of ``autopose.data``, to a list of feature maps; its
        ``out_channels`` and ``strides`` say which.

    Raises:
        UserError: no checkpoint of a training.
    """
    content = read_checkpoint(path, "train")
    config = from_checkpoint(content["config"], Config(), [])
    return Backbone(load_network(content, config, torch.device("cpu")))


def as_picture(image: Picture) -> np.ndarray:
    """(H, W, 3) uint8 RGB from an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or from a file."""
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise UserError(
            f"a picture must be (H, W, 3) uint8 RGB, or (H, W) or (H, W, 4), but is {array.shape} {array.dtype}"
        )
    if array.size == 0:
        raise UserError(f"a picture must have pixels, but is {array.shape}")
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array[..., :3])
