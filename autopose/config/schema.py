"""The typed, frozen configuration. Hydra's objects stop here: below, only these dataclasses are seen."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from autopose.data.augment import PRESETS
from autopose.data.pictures import EXIF_CHOICES
from autopose.data.splits import REWARD_SPLITS
from autopose.errors import UserError
from autopose.kernels import KernelChoice
from autopose.nas import BilevelSettings
from autopose.nas.bilevel import BILEVEL_RANGES
from autopose.ranges import ANY, BETAS, COUNT, DECAY, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges
from autopose.space import OPS, MacroSpace, SearchSpace, operation
from autopose.space.search_space import ALPHA_SHARINGS

ALGORITHMS = ("bilevel", "random", "evolution")
REWARDS = ("oks_ap", "pck", "negative_loss")
FORMATS = ("onnx", "torch_export")


def _one_of(name: str, value: Any, valid: tuple) -> None:
    if value not in valid:
        raise UserError(f"{name} must be one of {', '.join(map(str, valid))}, but is {value!r}")


_SIZE = Range(least=4, most=8192, length=2)


@dataclass(frozen=True)
class SpaceConfig(MacroSpace):
    """The macro space, its operations, and the conventions of its networks (see ``SearchSpace`` and ``PoseNetwork``).

    Args:
        operations: candidates of every edge: of the six of §3.1.2, and dotted paths of others (docs/extend.md).
    """

    operations: list[str] = field(default_factory=lambda: list(OPS))
    alpha_sharing: str = "branch"
    supernet_affine: bool = False
    derived_affine: bool = True

    def __post_init__(self):
        super().__post_init__()
        _one_of("space.alpha_sharing", self.alpha_sharing, ALPHA_SHARINGS)
        if not self.operations or len(set(self.operations)) < len(self.operations):
            raise UserError(f"space.operations needs at least one operation and none twice, but is {self.operations}")
        for name in self.operations:
            operation(name)

    def macro(self) -> MacroSpace:
        """The part that an architecture remembers."""
        return MacroSpace(**{f.name: getattr(self, f.name) for f in dataclasses.fields(MacroSpace)})

    def search_space(self) -> SearchSpace:
        """The supernet's space."""
        return SearchSpace.full(self.macro(), self.alpha_sharing, operations=self.operations)


DATA_RANGES = {
    "score_threshold": ANY,
    "sigmas": Range(above=0, below=10),
    "image_size": _SIZE,
    "sigma": POSITIVE,
    "workers": NOT_NEGATIVE,
    "num_train": COUNT,
    "num_val": COUNT,
    "seed": NOT_NEGATIVE,
    "synthetic_size": _SIZE,
}


@dataclass(frozen=True)
class DataConfig:
    """A dataset and how its crops are made.

    Args:
        kind: "synthetic", "coco" (any COCO-keypoint-style set) or "mpii" (HRNet's annotation files).
        joints, flip_pairs, sigmas, skeleton: in place of what the annotation or the joints' names say.
        category: name or id of the category, where a file has several with different joints.
        image_size, heatmap_size: [width, height] px; heatmaps have stride 4.
        train_split, val_split: names in the default file names; the files and folders may also be given one by one.
        box_source: "gt" (annotated boxes), "detections" (``detections`` of the validation split), or "auto" (the
            detections where they are given).
        augmentation: preset of the training split.
        udp: unbiased data processing (Huang et al., CVPR 2020) for crops and heatmaps.
        workers: data-loading processes; cache: keep decoded images in memory.
        check_images: decode every image once at start.
        exif: pictures with an EXIF orientation: "auto" (turned where the annotated width and height say so), "turn"
            (labelled as viewers show them) or "ignore" (labelled as stored).
        rescale: resize pictures of another size than annotated, instead of refusing them.
        sigma: of the targets in heatmap cells; "auto": in proportion to the heatmap, 2 at 64 rows, at least 0.75.
        num_train, num_val, seed: pictures of the synthetic set, and the seed it is drawn with.
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
    cache: bool = False
    check_images: bool = True
    exif: str = "auto"
    rescale: bool = False
    num_train: int = 400
    num_val: int = 100
    seed: int = 0
    synthetic_size: list[int] = field(default_factory=lambda: [160, 160])

    def __post_init__(self):
        _one_of("data.kind", self.kind, ("synthetic", "coco", "mpii"))
        _one_of("data.box_source", self.box_source, ("auto", "gt", "detections"))
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
        _one_of("data.exif", self.exif, EXIF_CHOICES)
        _one_of("data.augmentation", self.augmentation, tuple(PRESETS))
        if len(self.image_size) != 2 or len(self.synthetic_size) != 2:
            raise UserError(
                f"data.image_size and data.synthetic_size must be [width, height] in pixels, but are {self.image_size} "
                f"and {self.synthetic_size}"
            )
        if isinstance(self.sigma, str) and self.sigma != "auto":
            raise UserError(f"data.sigma must be auto or a number of heatmap cells, but is {self.sigma!r}")
        check_ranges(self, DATA_RANGES, "data.")


REWARD_RANGES = {
    "fraction": Range(above=0, below=1),
    "images": COUNT,
    "batch_size": COUNT,
    "recalibration_batches": COUNT,
    "flops_weight": NOT_NEGATIVE,
    "target_gmacs": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class RewardConfig:
    """What the controller maximises.

    Args:
        metric: "oks_ap", "pck" or "negative_loss", on crops of the reward subset (ground-truth boxes, no flip test).
        split: "train" (a part of the train annotations that neither ω nor α sees) or "paper" (the validation set: it
            leaks, and the output says so).
        fraction: share of the α half's images that is held out; images: upper bound of their number.
        ops: "argmax" (Algorithm 1, step 3) or "relaxed".
        batch_norm: "batch" (statistics of the scored batches), "recalibrated" or "running".
        flops_weight, target_gmacs: reward - weight * max(0, GMACs of the derived network / target - 1).
        cache: score a β only once an epoch.
    """

    metric: str = "oks_ap"
    split: str = "train"
    fraction: float = 0.25
    images: int = 500
    batch_size: int = 64
    ops: str = "argmax"
    batch_norm: str = "batch"
    recalibration_batches: int = 8
    flops_weight: float = 0.0
    target_gmacs: float = 0.0
    cache: bool = True

    def __post_init__(self):
        _one_of("search.reward.metric", self.metric, REWARDS)
        _one_of("search.reward.split", self.split, REWARD_SPLITS)
        _one_of("search.reward.ops", self.ops, ("argmax", "relaxed"))
        _one_of("search.reward.batch_norm", self.batch_norm, ("batch", "recalibrated", "running"))
        check_ranges(self, REWARD_RANGES, "search.reward.")
        if self.flops_weight and self.target_gmacs <= 0:
            raise UserError("a reward with search.reward.flops_weight needs search.reward.target_gmacs above 0")


SEARCH_RANGES = {
    "batch_size": COUNT,
    "image_size": _SIZE,
    "derive_samples": NOT_NEGATIVE,
    "max_skips": NOT_NEGATIVE,
    "width": COUNT,
    "checkpoint_every": NOT_NEGATIVE,
    "keep_checkpoints": COUNT,
}


@dataclass(frozen=True)
class SearchConfig(BilevelSettings):
    """A search: ``BilevelSettings`` and what surrounds the loop.

    Args:
        algorithm: "bilevel" (Algorithm 1), or under the same budget "random" or "evolution" (single-path supernet,
            then architectures scored with shared weights).
        image_size: [width, height] while searching, the data's where null (Table 5).
        derive_samples: β sampled at derivation, N; max_skips: cap on skip connections a cell at derivation.
        width: channels of the found network over the supernet's, for the printed size and the next command.
        checkpoint_every: iterations between checkpoints (0: only at epoch ends); keep_checkpoints: how many stay.
        health: measure relaxed against argmax loss and the reward's noise each epoch.
    """

    algorithm: str = "bilevel"
    batch_size: int = 64
    image_size: list[int] | None = None
    derive_samples: int = 10
    max_skips: int | None = None
    width: int = 2
    activation_checkpointing: bool = False
    sync_bn: bool = False
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    health: bool = True
    reward: RewardConfig = field(default_factory=RewardConfig)

    def __post_init__(self):
        super().__post_init__()
        _one_of("search.algorithm", self.algorithm, ALGORITHMS)
        check_ranges(self, {**BILEVEL_RANGES, **SEARCH_RANGES}, "search.")
        if self.batch_size < self.accumulate:
            raise UserError(
                f"search.batch_size must be at least 1 a micro-batch, but is {self.batch_size} for search.accumulate "
                f"{self.accumulate}"
            )


TRAIN_RANGES = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "lr": POSITIVE,
    "betas": BETAS,
    "weight_decay": NOT_NEGATIVE,
    "milestones": NOT_NEGATIVE,
    "lr_gamma": POSITIVE,
    "warmup_steps": NOT_NEGATIVE,
    "width": COUNT,
    "ema": DECAY,
    "grad_clip": NOT_NEGATIVE,
    "accumulate": COUNT,
    "evaluate_every": NOT_NEGATIVE,
    "checkpoint_every": NOT_NEGATIVE,
    "keep_checkpoints": COUNT,
    "max_bad_steps": COUNT,
}


@dataclass(frozen=True)
class TrainConfig:
    """Training a network from scratch (§4.2).

    Args:
        epochs, batch_size, lr, betas: §4.2; lr times ``lr_gamma`` after the epochs of ``milestones``.
        width: channels over the architecture's (the paper: 2).
        autocast: bfloat16 autocast; ema: decay of an exponential moving average of the weights (0: none).
        grad_clip: norm at which gradients are clipped (0: not).
        evaluate_every: epochs between evaluations on the validation split (0: only at the end).
    """

    epochs: int = 210
    batch_size: int = 128
    optimizer: str = "adam"
    lr: float = 1e-3
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])
    weight_decay: float = 0.0
    milestones: list[int] = field(default_factory=lambda: [170, 200])
    lr_gamma: float = 0.1
    warmup_steps: int = 0
    width: int = 2
    autocast: bool = False
    ema: float = 0.0
    grad_clip: float = 0.0
    accumulate: int = 1
    sync_bn: bool = False
    activation_checkpointing: bool = False
    evaluate_every: int = 10
    checkpoint_every: int = 0
    keep_checkpoints: int = 2
    max_bad_steps: int = 5

    def __post_init__(self):
        _one_of("train.optimizer", self.optimizer, ("adam", "adamw"))
        check_ranges(self, TRAIN_RANGES, "train.")


EVALUATE_RANGES = {
    "batch_size": COUNT,
    "nms_threshold": SHARE,
    "keypoint_threshold": ANY,
    "pck_alpha": POSITIVE,
}


@dataclass(frozen=True)
class EvaluateConfig:
    """The protocol of evaluation; every choice is printed beside the numbers.

    Args:
        flip_test: average with the mirrored image (§4.2); decoding: "quarter", "dark" or "argmax".
        nms: "oks", "soft" or "none"; nms_threshold: OKS above which a detection is suppressed.
        keypoint_threshold: keypoints above it enter the mean that rescores a box.
        pck_alpha: of PCK; pixel_error: print the errors in px of the pictures as well (ground-truth boxes only).
    """

    batch_size: int = 64
    flip_test: bool = True
    decoding: str = "quarter"
    nms: str = "oks"
    nms_threshold: float = 0.9
    keypoint_threshold: float = 0.2
    pck_alpha: float = 0.2
    pixel_error: bool = False

    def __post_init__(self):
        _one_of("evaluate.decoding", self.decoding, ("quarter", "dark", "argmax"))
        _one_of("evaluate.nms", self.nms, ("oks", "soft", "none"))
        check_ranges(self, EVALUATE_RANGES, "evaluate.")


EXPORT_RANGES = {"opset": COUNT, "calibration_images": COUNT, "tolerance": NOT_NEGATIVE}


@dataclass(frozen=True)
class ExportConfig:
    """A file that runs without this software.

    Args:
        opset: of ONNX, 13 to 20; 17 is read by ONNX Runtime from 1.12 on.
        decode: joints and scores come out beside the heatmaps (``evaluate.decoding`` quarter or argmax).
        int8: write a second, quantised file, and score both on the validation split (ONNX).
        calibration_images: pictures of the training split from which the ranges of INT8 are taken.
        tolerance: largest difference of heatmaps from PyTorch's at which a file counts as correct.
    """

    opset: int = 17
    decode: bool = False
    int8: bool = False
    calibration_images: int = 128
    tolerance: float = 1e-4

    def __post_init__(self):
        _one_of("export.opset", self.opset, tuple(range(13, 21)))
        check_ranges(self, EXPORT_RANGES, "export.")


@dataclass(frozen=True)
class CorrelateConfig:
    """How the supernet's scores are compared with networks trained alone.

    Args:
        architectures: how many are drawn, uniformly by ``seed``; epochs: of each one's training.
        width: channels over the supernet's.
    """

    architectures: int = 12
    epochs: int = 6
    width: int = 1

    def __post_init__(self):
        check_ranges(self, {"architectures": Range(least=2), "epochs": COUNT, "width": COUNT}, "correlate.")


@dataclass(frozen=True)
class KernelsConfig(KernelChoice):
    """Implementation of each kernel: reference, fused or auto."""


@dataclass(frozen=True)
class Config:
    """Everything that a command may be told.

    Args:
        task, name: the run's folder is outputs/TASK/NAME/TIME.
        architecture: path of an architecture.json, or all_on_conv3, single_scale, random (drawn by ``seed``).
        checkpoint: a checkpoint to derive from, evaluate or predict with, or to start a training from.
        results: a COCO result file to score.
        images: an image or a folder of images to predict on; boxes: people on them, see ``engine.pictures``.
        format: of an exported file, "onnx" or "torch_export"; out: its path, pose.onnx or pose.pt2 of the run's folder
            where null.
        resume: "no", or "auto": continue the newest valid checkpoint of this run's folder, afresh where there is none.
        device: "auto", "cpu" or "cuda"; threads: CPU threads (0: PyTorch's choice).
        trace: write steps.log, a line a step with checksums of batch and loss.
    """

    task: str = "search"
    name: str = "quick"
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    deterministic: bool = False
    trace: bool = False
    resume: str = "no"
    architecture: str | None = None
    checkpoint: str | None = None
    results: str | None = None
    space: SpaceConfig = field(default_factory=SpaceConfig)
    data: DataConfig = field(default_factory=DataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    correlate: CorrelateConfig = field(default_factory=CorrelateConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    kernels: KernelsConfig = field(default_factory=KernelsConfig)
    images: str | None = None
    boxes: str | None = None
    format: str = "onnx"
    out: str | None = None

    def __post_init__(self):
        _one_of("format", self.format, FORMATS)
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        _one_of("resume", self.resume, ("no", "auto"))
        check_ranges(self, {"seed": NOT_NEGATIVE, "threads": NOT_NEGATIVE})

    def to_dict(self) -> dict:
        """Plain data, as a checkpoint embeds it."""
        return dataclasses.asdict(self)
