"""The network level of the space (§3.1.1): which scales each stage activates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from autopose.errors import UserError

AGGREGATIONS = ("cell", "concat")
HEADS = ("concat", "sum")
DOWNSAMPLES = ("conv", "avg_pool")
BETA_SHARINGS = ("stage", "module")


@dataclass(frozen=True)
class MacroArchitecture:
    """β: ``rows[d][b]`` tells whether decision d (a stage, or a module) activates branch b of scale 2^(b+2)."""

    rows: tuple[tuple[bool, ...], ...]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "MacroArchitecture":
        """From any rows of 0 and 1."""
        return cls(tuple(tuple(bool(value) for value in row) for row in rows))

    def __str__(self) -> str:
        return "[" + " ".join("".join(str(int(on)) for on in row) for row in self.rows) + "]"


@dataclass(frozen=True)
class MacroSpace:
    """Everything about the network that is not inside a cell.

    Args:
        channels: channels of the branches; branch b has scale 2^(b+2) (the paper: 16, 32, 64, 128 in the supernet).
        num_stages: stages, each with its own β vector (the paper: 3).
        modules_per_stage: multi-scale modules stacked in a stage (the paper: 2).
        nodes_individual, nodes_aggregation: nodes of the two kinds of cell, K_I and K_M (the paper: 4 and 2).
        stem_channels: channels inside the stem (before the 4x branch).
        aggregation: "cell" (C_M), or "concat" (concatenation and a 1x1 convolution, the ablation of Table 4).
        downsample: "conv" (chain of stride-2 3x3 conv-BN) or "avg_pool" (average pooling, then 1x1 conv-BN).
        head: "concat" (§4.2) or "sum" (§3).
        beta_sharing: "stage" (one β vector a stage) or "module" (one a multi-scale module).
        min_active, max_active: bounds on the active branches of one decision (max_active 0: no bound).
    """

    channels: tuple[int, ...] = (16, 32, 64, 128)
    num_stages: int = 3
    modules_per_stage: int = 2
    nodes_individual: int = 4
    nodes_aggregation: int = 2
    stem_channels: int = 64
    aggregation: str = "cell"
    downsample: str = "conv"
    head: str = "concat"
    beta_sharing: str = "stage"
    min_active: int = 0
    max_active: int = 0

    def __post_init__(self):
        object.__setattr__(self, "channels", tuple(self.channels))
        if not self.channels or len(self.channels) > 5:
            raise UserError(f"the space has 1 to 5 branches, but {len(self.channels)} channel counts were given")
        counts = {
            "num_stages": self.num_stages,
            "modules_per_stage": self.modules_per_stage,
            "nodes_individual": self.nodes_individual,
            "nodes_aggregation": self.nodes_aggregation,
            "stem_channels": self.stem_channels,
            **{f"channels[{b}]": c for b, c in enumerate(self.channels)},
        }
        for name, value in counts.items():
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 4096:
                raise UserError(f"{name} must be a whole number from 1 to 4096, but is {value!r}")
        choices = {
            "aggregation": AGGREGATIONS,
            "downsample": DOWNSAMPLES,
            "head": HEADS,
            "beta_sharing": BETA_SHARINGS,
        }
        for name, valid in choices.items():
            if getattr(self, name) not in valid:
                raise UserError(f"{name} must be one of {', '.join(valid)}, but is {getattr(self, name)!r}")
        if not 0 <= self.min_active <= (self.max_active or self.num_branches) <= self.num_branches:
            raise UserError(
                f"active branches must satisfy 0 <= min_active <= max_active <= {self.num_branches}, "
                f"but min_active is {self.min_active} and max_active {self.max_active}"
            )

    @property
    def num_branches(self) -> int:
        """B."""
        return len(self.channels)

    @property
    def scales(self) -> tuple[int, ...]:
        """4, 8, 16, ...: a feature map of scale s is 1/s of the image in height and in width."""
        return tuple(2 ** (b + 2) for b in range(self.num_branches))

    @property
    def num_modules(self) -> int:
        """Multi-scale modules in a row."""
        return self.num_stages * self.modules_per_stage

    @property
    def num_decisions(self) -> int:
        """β vectors that the controller emits."""
        return self.num_stages if self.beta_sharing == "stage" else self.num_modules

    def decision_of(self, module: int) -> int:
        """Which β vector switches multi-scale module ``module``."""
        return module // self.modules_per_stage if self.beta_sharing == "stage" else module

    def allowed(self) -> tuple[tuple[bool, ...], ...]:
        """All β vectors of one decision within the bounds, in lexicographic order."""
        upper = self.max_active or self.num_branches
        return tuple(v for v in product((False, True), repeat=self.num_branches) if self.min_active <= sum(v) <= upper)

    def all_on(self) -> MacroArchitecture:
        """Every branch active in every stage (the ablation "fixed to four" of Table 4)."""
        return MacroArchitecture(((True,) * self.num_branches,) * self.num_decisions)

    def check(self, macro: MacroArchitecture) -> None:
        """UserError unless β has this space's shape and bounds."""
        shape = (len(macro.rows), {len(row) for row in macro.rows})
        if shape != (self.num_decisions, {self.num_branches}):
            raise UserError(f"beta must have {self.num_decisions} rows of {self.num_branches} branches, but is {macro}")
        allowed = self.allowed()
        for row in macro.rows:
            if row not in allowed:
                raise UserError(
                    f"beta row {[int(on) for on in row]} breaks the bounds on active branches "
                    f"(min {self.min_active}, max {self.max_active or self.num_branches})"
                )

    def widened(self, factor: float) -> "MacroSpace":
        """The same space with every branch's channels multiplied (§4.2: derived networks are twice as wide).

        A factor that is no whole number rounds each to the nearest multiple of 4, at least 4: what vectors of a
        processor and tiles of the kernels take without padding.
        """
        if factor == int(factor):
            return replace(self, channels=tuple(c * int(factor) for c in self.channels))
        return replace(self, channels=tuple(max(4, 4 * round(c * factor / 4)) for c in self.channels))

    def check_image_size(self, size: Sequence[int]) -> None:
        """UserError unless [width, height] is a multiple of the coarsest scale."""
        stride = self.scales[-1]
        if any(side < stride or side % stride for side in size):
            near = [max(stride, stride * round(side / stride)) for side in size]
            raise UserError(
                f"the image size must be a multiple of {stride} (the coarsest of {self.num_branches} branches), "
                f"but is {size[0]}x{size[1]} (width x height): the nearest is [{near[0]},{near[1]}]"
            )
