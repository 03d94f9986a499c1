"""What a dataset is made of: persons (one crop each), images, and both together with their joint vocabulary.

Letters: K joints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autopose.data.schema import KeypointSchema
from autopose.errors import UserError

if TYPE_CHECKING:
    from autopose.data.crop_cache.store import CropCache

METRICS = ("oks", "pckh", "pck")


@dataclass(frozen=True, eq=False, slots=True)
class Person:
    """One person of one image, with the crop that shows them.

    Attributes:
        image: path of the image file.
        image_id: key of the image in `PoseAnnotations.images`.
        annotation_id: id in the annotation file; for detections the position in the detection file.
        center: (2,) float64, px of the image.
        scale: (2,) float64, width and height of the crop in units of 200 px.
        joints: (K, 2) float64, px; zeros where there is no annotation.
        visible: (K,) uint8: 0 not labelled, 1 labelled but hidden, 2 visible. Zeros for detections.
        bbox: (4,) float64, x, y, width, height in px.
        area: px^2, the person's segment where the set has one.
        score: of the box; 1 for ground truth.
        head_size: px, the length PCKh divides by (MPII: 0.6 of the head box's diagonal), or None.
    """

    image: str
    image_id: int
    annotation_id: int
    center: np.ndarray
    scale: np.ndarray
    joints: np.ndarray
    visible: np.ndarray
    bbox: np.ndarray
    area: float
    score: float = 1.0
    head_size: float | None = None


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Path of an image, its size in px as annotated (None where the annotation has none), and how it is to be read.

    Attributes:
        turned: as its EXIF orientation says, else as stored; rescaled: to the annotated size.
    """

    path: str
    width: int | None = None
    height: int | None = None
    turned: bool = False
    rescaled: bool = False


@dataclass(frozen=True)
class PoseAnnotations:
    """One split of a dataset.

    Attributes:
        schema: the joints.
        persons: crops, in the order of the annotation (or detection) file.
        images: every image of the split by id, also those without people.
        coco_gt: annotation for pycocotools (the pose category only, without segmentations) or None.
        metric: what its results are scored by: oks (AP), pckh or pck.
        box_source: "ground truth" or "detections FILE".
        head_source: where head sizes come from (MPII), for the printed protocol; None elsewhere.
        category_ids: what results of the set may give as "category_id"; empty: anything.
        remarks: what is not as the files have it ("areas": "0.53 of the box ..."), for the printed protocol.
        crops: where people's pixels are read from instead of the pictures.
    """

    schema: KeypointSchema
    persons: tuple[Person, ...]
    images: dict[int, ImageFile]
    coco_gt: dict | None
    metric: str
    box_source: str
    head_source: str | None = None
    category_ids: tuple[int, ...] = ()
    remarks: Mapping[str, str] = field(default_factory=dict)
    crops: CropCache | None = None

    @property
    def whole_pictures(self) -> bool:
        """Whether every person's box is the whole picture, as in sets labelled without boxes."""
        sizes = [(self.images[p.image_id].width, self.images[p.image_id].height) for p in self.persons]
        return bool(sizes) and all(
            None not in size and bool((person.bbox[2:] >= np.array(size) - 2).all())
            for person, size in zip(self.persons, sizes, strict=True)
        )

    def digest(self) -> str:
        """SHA-256 (hex) of joints' names, people and the pictures' names and bytes on disk; a root may move."""
        found = hashlib.sha256(repr(self.schema).encode())
        for image_id in sorted({person.image_id for person in self.persons}):
            image = self.images[image_id]
            size = Path(image.path).stat().st_size if Path(image.path).exists() else None
            found.update(repr((image_id, Path(image.path).name, image.width, image.height, size)).encode())
        for person in self.persons:
            found.update(repr((person.image_id, person.annotation_id, person.area, person.score)).encode())
            for values in (person.joints, person.visible, person.bbox):
                found.update(np.ascontiguousarray(values).tobytes())
        return found.hexdigest()

    def subset(self, image_ids: Collection[int]) -> PoseAnnotations:
        """The same annotations cut down to the images named."""
        kept = set(image_ids)
        coco_gt = self.coco_gt
        if coco_gt is not None:
            coco_gt = {
                **coco_gt,
                "images": [image for image in coco_gt["images"] if image["id"] in kept],
                "annotations": [a for a in coco_gt["annotations"] if a["image_id"] in kept],
            }
        return replace(
            self,
            persons=tuple(p for p in self.persons if p.image_id in kept),
            images={key: image for key, image in self.images.items() if key in kept},
            coco_gt=coco_gt,
        )


@dataclass(frozen=True)
class DataSource:
    """Where one split of a dataset lies and how to read it. Paths are absolute or relative to `root`.

    Attributes:
        root: folder of the dataset.
        split: name of the split, part of the default file names.
        annotation_file: default annotations/person_keypoints_SPLIT.json (COCO) or annot/SPLIT.json (MPII).
        image_folder: default: the first that exists of SPLIT, images/SPLIT, images.
        detection_file: COCO detection JSON whose boxes replace the ground truth's; None: ground-truth boxes.
        score_threshold: detections below it are left out.
        head_file: MPII's official gt_valid.mat; default annot/gt_SPLIT.mat where it exists.
        metric: what COCO-style results are scored by: oks or pck.
        joints, flip_pairs, sigmas, skeleton: see `schema_from_category`; None: from the annotation.
        category: name or id of the category of a COCO-style file; None: see `categories.pose_category`.
        network: the joints of a network that is to be scored, which the set must have by name, in any order.
    """

    root: str | Path
    split: str
    annotation_file: str | None = None
    image_folder: str | None = None
    detection_file: str | None = None
    score_threshold: float = 0.0
    head_file: str | None = None
    metric: str = "oks"
    joints: tuple[str, ...] | None = None
    flip_pairs: tuple | None = None
    sigmas: tuple[float, ...] | None = None
    skeleton: tuple | None = None
    category: str | None = None
    network: KeypointSchema | None = None

    def __post_init__(self):
        if self.metric not in METRICS:
            raise UserError(f"unknown metric '{self.metric}': expected one of {', '.join(METRICS)}")

    def path(self, name: str) -> Path:
        """Of a picture, by its file's name."""
        return Path(self.root) / name

    def check_root(self) -> None:
        """UserError unless the folder is there."""
        if not Path(self.root).is_dir():
            raise UserError(f"the data folder '{self.root}' does not exist: set data.root to the dataset's folder")

    def find_image_folder(self, must_exist: bool) -> Path:
        """Folder of the images.

        Raises:
            UserError: none of the candidates exists and `must_exist`.
        """
        names = [self.image_folder] if self.image_folder else [self.split, f"images/{self.split}", "images"]
        for name in names:
            if self.path(name).is_dir():
                return self.path(name)
        if must_exist:
            raise UserError(f"no image folder in '{self.root}': expected {' or '.join(f'{n}/' for n in names)}")
        return self.path(names[0])
