"""The typed, frozen configuration. Hydra's objects stop here: below, only these dataclasses are seen."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from autopose.config.data_keys import DataConfig
from autopose.config.search_keys import SearchConfig, SpaceConfig
from autopose.config.train_keys import EvaluateConfig, TrainConfig
from autopose.errors import UserError
from autopose.kernels import KernelChoice
from autopose.ranges import COUNT, NOT_NEGATIVE, SHARE, WIDTH, Range, check_ranges, one_of

FORMATS = ("onnx", "torch_export")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")
TIMING = ("search", "train")  # the commands that can time a step

EXPORT_RANGES = {"opset": COUNT, "calibration_images": COUNT, "tolerance": NOT_NEGATIVE}


@dataclass(frozen=True)
class ExportConfig:
    """A file that runs without this software.

    Args:
        opset: of ONNX, 13 to 20; 17 is read by ONNX Runtime from 1.12 on.
        decode: joints and scores come out beside the heatmaps (``evaluate.decoding`` quarter or argmax).
        int8: write a second, quantised file, and score both on the validation split (ONNX).
        calibration_images: people of the training split from which the ranges of INT8 are taken.
        tolerance: largest difference of heatmaps from PyTorch's at which a file counts as correct.
    """

    opset: int = 17
    decode: bool = False
    int8: bool = False
    calibration_images: int = 128
    tolerance: float = 1e-4

    def __post_init__(self):
        one_of("export.opset", self.opset, tuple(range(13, 21)))
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
    width: float = 1

    def __post_init__(self):
        check_ranges(self, {"architectures": Range(least=2), "epochs": COUNT, "width": WIDTH}, "correlate.")


@dataclass(frozen=True)
class ParetoConfig:
    """A front of architectures from one search: the supernet's score against a cost.

    Args:
        evaluations: architectures that are scored; population: of a generation of NSGA-II, the first one at random.
        latency_table: milliseconds are the cost, from this file (null: multiply-adds are).
        max_gmacs: 10^9 multiply-adds that no architecture of the front exceeds (0: any).
    """

    evaluations: int = 400
    population: int = 40
    latency_table: str | None = None
    max_gmacs: float = 0.0

    def __post_init__(self):
        known = {"evaluations": COUNT, "population": Range(least=2), "max_gmacs": NOT_NEGATIVE}
        check_ranges(self, known, "pareto.")
        if self.evaluations < self.population:
            raise UserError(
                f"pareto.evaluations={self.evaluations} is less than one generation: give at least pareto.population, "
                f"which is {self.population}"
            )


DETECTOR_INPUTS = ("auto", "rgb", "bgr", "bgr_normalised")
PREDICT_RANGES = {
    "threshold": NOT_NEGATIVE, "detector_threshold": SHARE, "detector_overlap": SHARE, "most_frames": NOT_NEGATIVE,
}  # fmt: skip


@dataclass(frozen=True)
class PredictConfig:
    """Poses on pictures and videos of one's own.

    Args:
        threshold: joints with a lower score are not drawn; they stand in the results all the same.
        draw: write pictures and videos.
        track: follow people through a video; smooth: filter their joints (One-Euro).
        detector_threshold, detector_overlap: least score of a person, and intersection over union above which the
            lesser of two boxes is dropped.
        detector_class: the class that is a person, by number or by name, or a list (of a file without names 0 is it).
        detector_input: what the file takes: rgb (0 to 1), bgr (0 to 255) or bgr_normalised (mean 0, deviation 1);
            auto: by its outputs.
        most_frames: of each video, or of a camera (0: all).
    """

    threshold: float = 0.2
    draw: bool = True
    track: bool = False
    smooth: bool = False
    detector_threshold: float = 0.3
    detector_overlap: float = 0.6
    detector_class: Any = "person"
    detector_input: str = "auto"
    most_frames: int = 0

    def __post_init__(self):
        check_ranges(self, PREDICT_RANGES, "predict.")
        one_of("predict.detector_input", self.detector_input, DETECTOR_INPUTS)
        if self.smooth and not self.track:
            raise UserError("predict.smooth=true filters the joints of people who are followed: add predict.track=true")


@dataclass(frozen=True)
class LatencyConfig:
    """How times are measured.

    Args:
        batch: images a call beside 1; rounds: timed calls of each form, in turn.
        operations: write the table of every operation of every branch too, a cost for searches.
    """

    batch: int = 8
    rounds: int = 30
    operations: bool = False

    def __post_init__(self):
        check_ranges(self, {"batch": COUNT, "rounds": COUNT}, "latency.")


POOL_RANGES = {
    "architectures": NOT_NEGATIVE,
    "band": Range(least=0, length=2),
    "band_share": SHARE,
    "seeds": COUNT,
    "repeated": NOT_NEGATIVE,
    "included_seeds": COUNT,
    "proposed": NOT_NEGATIVE,
    "workers": COUNT,
    "worker": NOT_NEGATIVE,
    "heartbeat": COUNT,
}


@dataclass(frozen=True)
class PoolConfig:
    """Architectures that are trained alike, for a table of what the space holds.

    Args:
        architectures: how many are drawn, by ``seed``; a larger pool begins with the smaller one.
        band: [least, most] GMACs of the share ``band_share`` of them (null: all are drawn from the full range).
        seeds: trainings of each of the first ``repeated`` architectures; the others get one.
        include: further ones, each with ``included_seeds`` trainings: all_on_conv3, single_scale, hrnet, or a file's
            path; hrnet@0.02 is as wide as makes it 0.02 GMACs.
        proposed: how many more are found in the band by predictors, each fitted to half of what was drawn and trained;
            with ``seeds`` trainings each.
        known: a table whose trainings of the same recipe count as done, as on a machine that has not trained them.
        folder: of the ledger and the trainings (null: outputs/pool/NAME); the same folder goes on with the same pool.
        ledger: a database's URL, as of PostgreSQL for workers on several machines (null: a SQLite file in the folder).
        workers: processes started here; worker: a number to tell workers apart that a sweep starts.
        heartbeat: seconds between a worker's signs of life; after three missed ones its training is given to another.
        keep: leave every training's checkpoints.
    """

    architectures: int = 64
    band: list[float] | None = None
    band_share: float = 0.5
    seeds: int = 2
    repeated: int = 16
    include: list[str] = field(default_factory=list)
    included_seeds: int = 1
    proposed: int = 0
    known: str | None = None
    folder: str | None = None
    ledger: str | None = None
    workers: int = 1
    worker: int = 0
    heartbeat: int = 60
    keep: bool = False

    def __post_init__(self):
        check_ranges(self, POOL_RANGES, "pool.")
        if self.band and self.band[0] > self.band[1]:
            raise UserError(f"pool.band must be [least, most] GMACs, but is {list(self.band)}")
        if not self.architectures and not self.include:
            raise UserError("the pool is empty: pool.architectures=N or pool.include=[hrnet]")


@dataclass(frozen=True)
class KernelsConfig(KernelChoice):
    """Implementation of each kernel: reference, fused or auto; ``kernels=NAME`` chooses for all three.

    Args:
        mixed_edge: of a searched edge, Σ over operations; single_edge: of an edge with one operation.
        resample_sum: of the sum over branches at one scale.
    """


@dataclass(frozen=True)
class Config:
    """Everything that a command may be told.

    Args:
        task, name: the run's folder is outputs/TASK/NAME/TIME.
        seed: of all randomness of a run; deterministic: PyTorch's deterministic algorithms alone.
        architecture: path of an architecture.json, or all_on_conv3, single_scale, hrnet, random.
        architecture_seed: of a random architecture (null: ``seed``); architecture_gmacs: [least, most] 10^9
            multiply-adds that its network may have (null: any).
        checkpoint: a checkpoint to derive from, evaluate or predict with, or to start a training from.
        results: a COCO result file to score.
        source: what to predict on: a picture, video, folder, pattern or a camera's index (``images`` is its old name);
            boxes: people on them, [x, y, width, height] or a JSON file; detector: an ONNX file that finds them.
        format: of an exported file, "onnx" or "torch_export"; out: its path, pose.onnx or pose.pt2 of the run's folder
            where null.
        resume: "no", or "auto": continue the newest valid checkpoint of this run's folder, afresh where there is none.
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "mps" (Apple); threads: CPU threads (0:
            PyTorch's choice), or "auto": search and train time a step with one and with all, and keep the better.
        precision: of what networks compute: "fp32", "bf16" (parameters, optimizers and statistics stay float32), or
            "auto": bf16 where the device has instructions for its products.
        tracker: "none", "wandb" or "mlflow", which then gets the rows of metrics.jsonl as well.
        dry_run: time a few steps of everything, print what the run would cost, and write nothing.
        trace: write steps.log, a line a step with checksums of batch and loss.

    Attributes:
        words: the overrides that ``composed`` made it from; None where it was made or changed otherwise.
    """

    words: ClassVar[tuple[str, ...] | None] = None

    task: str = "search"
    name: str = "quick"
    seed: int = 0
    device: str = "auto"
    threads: Any = 0
    precision: str = "auto"
    deterministic: bool = False
    tracker: str = "none"
    dry_run: bool = False
    trace: bool = False
    resume: str = "no"
    architecture: str | None = None
    architecture_seed: int | None = None
    architecture_gmacs: list[float] | None = None
    checkpoint: str | None = None
    results: str | None = None
    space: SpaceConfig = field(default_factory=SpaceConfig)
    data: DataConfig = field(default_factory=DataConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    correlate: CorrelateConfig = field(default_factory=CorrelateConfig)
    pareto: ParetoConfig = field(default_factory=ParetoConfig)
    pool: PoolConfig = field(default_factory=PoolConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    kernels: KernelsConfig = field(default_factory=KernelsConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    source: str | None = None
    images: str | None = None
    boxes: Any = None
    detector: str | None = None
    format: str = "onnx"
    out: str | None = None

    def __post_init__(self):
        one_of("format", self.format, FORMATS)
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        one_of("tracker", self.tracker, ("none", "wandb", "mlflow"))
        one_of("resume", self.resume, ("no", "auto"))
        self._check_threads()
        ranges = {"seed": NOT_NEGATIVE, "threads": NOT_NEGATIVE, "architecture_seed": NOT_NEGATIVE}
        check_ranges(self, {**ranges, "architecture_gmacs": Range(least=0, length=2)})
        band = self.architecture_gmacs
        if band and band[0] > band[1]:
            raise UserError(f"architecture_gmacs must be [least, most], but is {list(band)}")

    def _check_threads(self) -> None:
        if self.threads == "auto" and self.task not in TIMING:
            raise UserError(
                f"threads=auto times steps of {' and '.join(TIMING)}: give a number, or 0 for PyTorch's choice"
            )
        if self.threads != "auto" and not isinstance(self.threads, int):
            raise UserError(f"threads must be auto or a whole number, but is {self.threads!r}")

    def to_dict(self) -> dict:
        """Plain data, as a checkpoint embeds it."""
        return dataclasses.asdict(self)
