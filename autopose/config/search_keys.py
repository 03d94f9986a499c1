"""``space`` and ``search``: what is searched, and how."""

import dataclasses
from dataclasses import dataclass, field

from autopose.data.splits import REWARD_SPLITS
from autopose.errors import UserError
from autopose.lookup import lookup
from autopose.nas import BilevelSettings
from autopose.nas.algorithms import ALGORITHMS, algorithm_class
from autopose.nas.cost import KINDS
from autopose.nas.settings import BILEVEL_RANGES
from autopose.ranges import COUNT, NOT_NEGATIVE, SIZE, WIDTH, Range, check_ranges, one_of
from autopose.space import OPS, MacroSpace, SearchSpace, operation
from autopose.space.search_space import ALPHA_SHARINGS

REWARDS = ("oks_ap", "pck", "negative_loss")


@dataclass(frozen=True)
class SpaceConfig(MacroSpace):
    """The macro space, its operations, and the conventions of its networks (see ``SearchSpace`` and ``PoseNetwork``).

    Args:
        operations: candidates of every edge: of the six of §3.1.2, and dotted paths of others (docs/extend.md).
        alpha_sharing: one α for each scale ("branch"), for all scales ("all"), or for each cell ("cell").
        supernet_affine, derived_affine: batch normalisation inside modules has a scale and a shift (DARTS: off, on).
    """

    operations: list[str] = field(default_factory=lambda: list(OPS))
    alpha_sharing: str = "branch"
    supernet_affine: bool = False
    derived_affine: bool = True

    def __post_init__(self):
        super().__post_init__()
        one_of("space.alpha_sharing", self.alpha_sharing, ALPHA_SHARINGS)
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


REWARD_RANGES = {
    "fraction": Range(above=0, below=1),
    "images": COUNT,
    "batch_size": COUNT,
    "recalibration_batches": COUNT,
    "flops_weight": NOT_NEGATIVE,
    "target_gmacs": NOT_NEGATIVE,
    "resident_gib": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class RewardConfig:
    """What the controller maximises.

    Args:
        metric: "oks_ap", "pck" or "negative_loss", on crops of the reward subset (ground-truth boxes, no flip test), or
            the dotted path of a function (docs/extend.md).
        split: "train" (a part of the train annotations that neither ω nor α sees) or "paper" (the validation set: it
            leaks, and the output says so).
        fraction: share of the α half's images that is held out; images: upper bound of their number.
        batch_size: people scored at once; no result but the statistics of "batch" depends on it.
        ops: "argmax" (Algorithm 1, step 3) or "relaxed".
        batch_norm: "batch" (statistics of the scored batches), "recalibrated" (over
            ``recalibration_batches``) or "running".
        flops_weight, target_gmacs: reward - weight * max(0, GMACs of the derived network / target - 1).
        cache: score a β only once an epoch.
        resident_gib: the most, in GiB, that the subset's pictures may take of the device's memory (0.14 for 1,000
            people of 192x256); more of them are copied to it at every reward.
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
    resident_gib: float = 2.0

    def __post_init__(self):
        known = dict.fromkeys(REWARDS)
        if self.metric not in REWARDS and not callable(lookup(self.metric, known, "search.reward.metric")):
            raise UserError(f"search.reward.metric={self.metric} must be a function of (poses, annotations)")
        one_of("search.reward.split", self.split, REWARD_SPLITS)
        one_of("search.reward.ops", self.ops, ("argmax", "relaxed"))
        one_of("search.reward.batch_norm", self.batch_norm, ("batch", "recalibrated", "running"))
        check_ranges(self, REWARD_RANGES, "search.reward.")
        if self.flops_weight and self.target_gmacs <= 0:
            raise UserError("a reward with search.reward.flops_weight needs search.reward.target_gmacs above 0")


TRIAL_RANGES = {
    "candidates": NOT_NEGATIVE, "steps": COUNT, "repeats": COUNT, "finalists": NOT_NEGATIVE, "finalist_steps": COUNT,
}  # fmt: skip


@dataclass(frozen=True)
class TrialsConfig:
    """Trainings from scratch, cut short, by which derivation chooses instead of by the reward of shared weights.

    Args:
        candidates: architectures that are tried (0: none, §3.3): the policy's mode and samples, every second one, and
            every β that was there before, with another row of β and operations drawn from a sharpened softmax(α); after
            "random" and "evolution" the best that they scored.
        steps: of each, by the recipe of ``train``; the least mean loss over them wins.
        repeats: with other initial weights and pictures, each for the better half.
        finalists: of the best so many another training decides (0: none), with the whole schedule of ``train`` in
            ``finalist_steps``, by the mean loss of the last quarter of them.
    """

    candidates: int = 0
    steps: int = 20
    repeats: int = 3
    finalists: int = 0
    finalist_steps: int = 800

    def __post_init__(self):
        check_ranges(self, TRIAL_RANGES, "search.trials.")


SEARCH_RANGES = {
    "batch_size": COUNT,
    "image_size": SIZE,
    "derive_samples": NOT_NEGATIVE,
    "max_skips": NOT_NEGATIVE,
    "width": WIDTH,
    "cost_weight": NOT_NEGATIVE,
    "cost_target": NOT_NEGATIVE,
    "max_gmacs": NOT_NEGATIVE,
    "min_gmacs": NOT_NEGATIVE,
    "checkpoint_every": NOT_NEGATIVE,
    "keep_checkpoints": COUNT,
}


@dataclass(frozen=True)
class SearchConfig(BilevelSettings):
    """A search: ``BilevelSettings`` and what surrounds the loop.

    Args:
        cost: of an architecture, "none", "gmacs" or "latency" (``latency_table``), in α's loss and in the reward.
        cost_weight: share of the loss, and points of the reward, that a cost of twice ``cost_target`` takes; without a
            target that the usual cost takes.
        cost_target: GMACs or ms up to which a cost is free (0: none is).
        latency_table: that ``autopose latency architecture=hrnet latency.operations=true`` wrote.
        max_gmacs: 10^9 multiply-adds that the derived network never exceeds (0: any); min_gmacs: that it has at least,
            for comparisons at equal size.
        algorithm: "bilevel" (Algorithm 1), or under the same budget "random" or "evolution" (single-path supernet,
            then architectures scored with shared weights), or the dotted path of an ``Algorithm`` (docs/extend.md).
        batch_size: people of a step, over all processes.
        image_size: [width, height] while searching, the data's where null (Table 5).
        derive_samples: β sampled at derivation, N; max_skips: cap on skip connections a cell at derivation.
        width: channels of the found network over the supernet's, for the printed size and the next command.
        activation_checkpointing: recompute each module in the backward pass: less memory, more time.
        sync_bn: statistics of batch normalisation over all processes.
        graphs: run steps as CUDA graphs: "auto" (on a CUDA GPU with fused kernels), "true" or "false".
        checkpoint_every: iterations between checkpoints (0: only at epoch ends); keep_checkpoints: how many stay.
        health: measure relaxed against argmax loss and the reward's noise each epoch.
    """

    cost: str = "none"
    cost_weight: float = 0.0
    cost_target: float = 0.0
    latency_table: str | None = None
    max_gmacs: float = 0.0
    min_gmacs: float = 0.0
    algorithm: str = "bilevel"
    batch_size: int = 64
    image_size: list[int] | None = None
    derive_samples: int = 10
    max_skips: int | None = None
    width: float = 2
    activation_checkpointing: bool = False
    sync_bn: bool = False
    graphs: str = "auto"
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    health: bool = True
    reward: RewardConfig = field(default_factory=RewardConfig)
    trials: TrialsConfig = field(default_factory=TrialsConfig)

    def __post_init__(self):
        super().__post_init__()
        algorithm_class(self.algorithm, ALGORITHMS)
        one_of("search.cost", self.cost, KINDS)
        # Hydra reads true and false as truth values.
        object.__setattr__(self, "graphs", str(self.graphs).lower())
        one_of("search.graphs", self.graphs, ("auto", "true", "false"))
        if (self.cost == "none") != (self.cost_weight == 0):
            raise UserError("search.cost=gmacs or latency needs search.cost_weight above 0, and that needs search.cost")
        if (self.cost == "latency") != bool(self.latency_table):
            raise UserError("search.cost=latency needs search.latency_table=FILE.json, which only it reads")
        check_ranges(self, {**BILEVEL_RANGES, **SEARCH_RANGES}, "search.")
        if self.max_gmacs and self.min_gmacs > self.max_gmacs:
            raise UserError(f"search.min_gmacs={self.min_gmacs:g} must not exceed search.max_gmacs={self.max_gmacs:g}")
        if self.batch_size < self.accumulate * self.paths:
            raise UserError(
                f"search.batch_size must be at least 1 a micro-batch, but is {self.batch_size} for search.accumulate "
                f"{self.accumulate} and search.paths {self.paths}"
            )
