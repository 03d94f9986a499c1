"""Schedule and optimizers of a search, and who samples β for its steps."""

from collections.abc import Callable
from dataclasses import dataclass, field

from autopose.errors import UserError
from autopose.lookup import lookup
from autopose.ranges import BETAS, COUNT, NOT_NEGATIVE, POSITIVE, check_ranges
from autopose.space import MacroArchitecture

from .alpha import GumbelSettings
from .controller import ControllerSettings

TRAINING_BETAS = ("sampled", "all_on", "uniform")
SAMPLINGS = ("uniform", "fair")
BILEVEL_RANGES = {
    "epochs": COUNT,
    "iterations": COUNT,
    "weight_lr": POSITIVE,
    "weight_lr_end": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "grad_clip": NOT_NEGATIVE,
    "alpha_lr": NOT_NEGATIVE,
    "alpha_betas": BETAS,
    "alpha_weight_decay": NOT_NEGATIVE,
    "alpha_start_epoch": NOT_NEGATIVE,
    "accumulate": COUNT,
    "paths": COUNT,
    "max_bad_steps": COUNT,
}


@dataclass(frozen=True)
class BilevelSettings:
    """Schedule and optimizers of a search; defaults are §4.2's where the paper gives them.

    Args:
        epochs: of the search, N_epoch; iterations: steps an epoch, N_iter.
        weight_optimizer: "adam" or "sgd" (momentum 0.9) for ω; cosine from ``weight_lr`` to ``weight_lr_end``.
        weight_decay: of ω.
        grad_clip: norm at which ω's gradient is clipped (0: not).
        alpha_lr, alpha_betas, alpha_weight_decay: Adam of α, its decay decoupled (AdamW); ``alpha_start_epoch``: first
            epoch that updates α.
        training_beta: β of a training step: "sampled" from the controller (uniform before it starts), "uniform",
            "all_on", or the dotted path of a function (docs/extend.md).
        accumulate: micro-batches that a batch, or a path's share of it, is split into.
        paths: sub-networks, each with β and operations of its own, that share the batch of a step of ω, which descends
            their mean gradient.
        sampling: of operations where one an edge is trained, "uniform" or "fair": any K paths in a row use each of an
            edge's K operations once (FairNAS, Chu et al., ICCV 2021).
        max_bad_steps: consecutive steps that are not finite before the search stops.
    """

    epochs: int = 50
    iterations: int = 1100
    weight_optimizer: str = "adam"
    weight_lr: float = 1e-3
    weight_lr_end: float = 1e-5
    weight_decay: float = 0.0
    grad_clip: float = 5.0
    alpha_lr: float = 3e-3
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    alpha_weight_decay: float = 1e-3
    alpha_start_epoch: int = 0
    training_beta: str = "sampled"
    accumulate: int = 1
    paths: int = 1
    sampling: str = "uniform"
    max_bad_steps: int = 5
    gumbel: GumbelSettings = field(default_factory=GumbelSettings)
    controller: ControllerSettings = field(default_factory=ControllerSettings)

    def __post_init__(self):
        if self.weight_optimizer not in ("adam", "sgd"):
            raise ValueError(f"weight_optimizer must be adam or sgd, but is {self.weight_optimizer!r}")
        if self.training_beta not in TRAINING_BETAS:
            beta_sampler(self.training_beta)
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, but is {self.sampling!r}")
        check_ranges(self, BILEVEL_RANGES, "search.")


def beta_sampler(path: str) -> Callable[..., MacroArchitecture]:
    """The function at the dotted path that ``search.training_beta`` gives; UserError where there is none."""
    found = lookup(path, dict.fromkeys(TRAINING_BETAS), "search.training_beta")
    if not callable(found):
        raise UserError(f"search.training_beta={path} must be a function of macro, draws, progress, not {found!r:.60}")
    return found
