"""``data``: a dataset and how its crops are made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopose.data.augment import PRESETS
from autopose.data.pictures import EXIF_CHOICES
from autopose.errors import UserError
from autopose.ranges import ANY, COUNT, NOT_NEGATIVE, POSITIVE, SIZE, Range, check_ranges, one_of

CACHES = ("memory", "disk")
CROPS = ("workers", "device")
DATA_RANGES = {
    "score_threshold": ANY,
    "sigmas": Range(above=0, below=10),
    "image_size": SIZE,
    "sigma": POSITIVE,
    "workers": NOT_NEGATIVE,
    "num_train": COUNT,
    "num_val": COUNT,
    "seed": NOT_NEGATIVE,
    "synthetic_size": SIZE,
}


@dataclass(frozen=True)
class DataConfig:
    """A dataset and how its crops are made.

    Args:
        kind: "synthetic", "coco" (any COCO-keypoint-style set) or "mpii" (HRNet's annotation files).
        root: the set's folder; of "synthetic" where it is drawn ("": a folder below outputs/data).
        metric: of COCO-style sets, "oks" or "pck"; MPII always has PCKh, with head boxes from ``head_file`` (null:
            annot/gt_SPLIT.mat, else from the joints).
        joints, flip_pairs, sigmas, skeleton: in place of what the annotation or the joints' names say.
        category: name or id of the category, where a file has several with different joints.
        image_size: [width, height] px of a person's crop; heatmaps have stride 4.
        train_split, val_split: names in the default file names.
        train_annotations, val_annotations, train_images, val_images: files and folders one by one (null: the layout's).
        box_source: "gt" (annotated boxes), "detections" (``detections`` of the validation split), or "auto" (the
            detections where they are given).
        detections: boxes in COCO's result format; score_threshold: detections with a lower score are left out.
        augmentation: preset of the training split.
        udp: unbiased data processing (Huang et al., CVPR 2020) for crops and heatmaps.
        workers: data-loading processes.
        cache: "memory" (or true) keeps decoded images in memory; "disk" the pixels that crops can need in
            ``cache_folder`` (data.root/crop_cache where null), see docs/troubleshooting.md; false decodes every time.
        crops: where training crops are cut and targets drawn: by the "workers", or in batches on the "device"; both
            give the same samples (docs/troubleshooting.md).
        check_images: decode every image once at start.
        exif: pictures with an EXIF orientation: "auto" (turned where the annotated width and height say so), "turn"
            (labelled as viewers show them) or "ignore" (labelled as stored).
        rescale: resize pictures of another size than annotated, instead of refusing them.
        sigma: of the targets in heatmap cells; "auto": in proportion to the heatmap, 2 at 64 rows, at least 0.75.
        num_train, num_val, seed: pictures of the synthetic set, and the seed it is drawn with; synthetic_size: their
            [width, height] px.
    """

    kind: str = "synthetic"
    root: str = ""
    train_split: str = "train"
    val_split: str = "val"
    train_annotations: str | None = None
    val_annotations: str | None = None
    train_images: str | None = None
    val_images: str | None = None
    box_source: str = "auto"
    detections: str | None = None
    score_threshold: float = 0.0
    head_file: str | None = None
    metric: str = "oks"
    joints: list[str] | None = None
    flip_pairs: Any = None
    sigmas: list[float] | None = None
    skeleton: Any = None
    category: str | None = None
    image_size: list[int] = field(default_factory=lambda: [192, 256])
    sigma: Any = "auto"
    udp: bool = False
    augmentation: str = "paper"
    workers: int = 4
    cache: Any = False
    cache_folder: str | None = None
    crops: str = "workers"
    check_images: bool = True
    exif: str = "auto"
    rescale: bool = False
    num_train: int = 400
    num_val: int = 100
    seed: int = 0
    synthetic_size: list[int] = field(default_factory=lambda: [160, 160])

    def __post_init__(self):
        one_of("data.kind", self.kind, ("synthetic", "coco", "mpii"))
        one_of("data.box_source", self.box_source, ("auto", "gt", "detections"))
        if self.box_source == "gt" and self.detections:
            raise UserError(
                f"data.detections={self.detections} would not be used with data.box_source=gt: leave one of them out "
                "(or null)"
            )
        if self.box_source == "detections" and not self.detections:
            raise UserError(
                "data.box_source=detections needs data.detections, a detection JSON in COCO's result format"
            )
        if self.score_threshold and not self.detections:
            raise UserError("data.score_threshold would not be used: it is for data.detections, which are not given")
        if not isinstance(self.cache, bool) and self.cache not in CACHES:
            raise UserError(f"data.cache must be false, {' or '.join(CACHES)}, but is {self.cache!r}")
        if self.cache_folder and self.cache != "disk":
            raise UserError("data.cache_folder would not be used: it is for data.cache=disk")
        one_of("data.crops", self.crops, CROPS)
        one_of("data.exif", self.exif, EXIF_CHOICES)
        one_of("data.augmentation", self.augmentation, tuple(PRESETS))
        if len(self.image_size) != 2 or len(self.synthetic_size) != 2:
            raise UserError(
                f"data.image_size and data.synthetic_size must be [width, height] in pixels, but are {self.image_size} "
                f"and {self.synthetic_size}"
            )
        if isinstance(self.sigma, str) and self.sigma != "auto":
            raise UserError(f"data.sigma must be auto or a number of heatmap cells, but is {self.sigma!r}")
        check_ranges(self, DATA_RANGES, "data.")

    @property
    def title(self) -> str:
        """What its owner calls the set: the folder's name; "synthetic" of drawn figures."""
        return "synthetic" if self.kind == "synthetic" else Path(self.root).expanduser().resolve().name or self.kind
