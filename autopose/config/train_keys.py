"""``train`` and ``evaluate``: a network from scratch, and the protocol of its scores."""

from dataclasses import dataclass, field

from autopose.ranges import ANY, BETAS, COUNT, DECAY, NOT_NEGATIVE, POSITIVE, SHARE, WIDTH, check_ranges, one_of

TRAIN_RANGES = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "lr": POSITIVE,
    "betas": BETAS,
    "weight_decay": NOT_NEGATIVE,
    "milestones": NOT_NEGATIVE,
    "lr_gamma": POSITIVE,
    "warmup_steps": NOT_NEGATIVE,
    "width": WIDTH,
    "gmacs": NOT_NEGATIVE,
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
        epochs: passes over the training split; batch_size: people of a step, over all processes.
        optimizer: "adam" or "adamw"; betas, weight_decay: of it.
        lr: learning rate, rising over ``warmup_steps`` steps and times ``lr_gamma`` after the epochs of ``milestones``.
        width: channels over the architecture's (the paper: 2); a fraction rounds them to multiples of 4.
        gmacs: 10^9 multiply-adds for which the width is chosen (0: ``width`` as it is).
        ema: decay of an exponential moving average of the weights (0: none).
        grad_clip: norm at which gradients are clipped (0: not); accumulate: micro-batches that a batch is split into.
        sync_bn: statistics of batch normalisation over all processes.
        activation_checkpointing: recompute each module in the backward pass: less memory, more time.
        evaluate_every: epochs between evaluations on the validation split (0: only at the end).
        checkpoint_every: steps between checkpoints (0: only at epoch ends); keep_checkpoints: how many stay.
        max_bad_steps: consecutive steps that are not finite before the training stops.
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
    width: float = 2
    gmacs: float = 0.0
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
        one_of("train.optimizer", self.optimizer, ("adam", "adamw"))
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
        batch_size: people at once.
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
        one_of("evaluate.decoding", self.decoding, ("quarter", "dark", "argmax"))
        one_of("evaluate.nms", self.nms, ("oks", "soft", "none"))
        check_ranges(self, EVALUATE_RANGES, "evaluate.")
