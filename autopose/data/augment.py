"""Augmentation as numbers drawn per sample: half body, scale, rotation, flip. The picture is touched once, by the crop.

Letters: K joints.
"""

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from autopose.data.affine import PIXEL_STD
from autopose.data.schema import KeypointSchema
from autopose.errors import UserError

ROTATIONS = ("uniform", "normal")
# A half-body crop is the joints' box, fitted to the aspect and enlarged by this (HRNet).
_HALF_BODY_PADDING = 1.5


@dataclass(frozen=True)
class Augmentation:
    """How samples are varied in training.

    Attributes:
        flip: probability of mirroring.
        rotation: degrees; the bound of the uniform law, the standard deviation of the normal one.
        rotation_law: uniform in [-rotation, rotation], or normal clipped at twice the rotation (HRNet).
        rotation_probability: of rotating at all.
        scale: s of the factor clip(1 + s * normal, 1 - s, 1 + s).
        half_body: probability of a crop of the upper or lower body only.
        half_body_joints: such a crop needs more labelled joints than this.
    """

    flip: float = 0.0
    rotation: float = 0.0
    rotation_law: str = "uniform"
    rotation_probability: float = 1.0
    scale: float = 0.0
    half_body: float = 0.0
    half_body_joints: int = 8

    def __post_init__(self):
        for name in ("flip", "rotation_probability", "half_body"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"augmentation: {name} is a probability in [0, 1], got {getattr(self, name)}")
        if self.rotation_law not in ROTATIONS:
            raise UserError(f"augmentation: rotation_law is one of {', '.join(ROTATIONS)}, got '{self.rotation_law}'")
        if not 0 <= self.rotation <= 180 or not 0 <= self.scale < 1:
            raise UserError(
                f"augmentation: expected rotation in [0, 180] degrees and scale in [0, 1), "
                f"got {self.rotation} and {self.scale}"
            )


# paper: AutoPose §4.1 (flip and rotation in ±45°). hrnet_*: the recipes of HRNet's published COCO and MPII configs.
# fixed_view: a camera that never moves, before which bodies always stand alike.
PRESETS = MappingProxyType(
    {
        "none": Augmentation(),
        "paper": Augmentation(flip=0.5, rotation=45),
        "hrnet_coco": Augmentation(
            flip=0.5, rotation=45, rotation_law="normal", rotation_probability=0.6, scale=0.35, half_body=0.3
        ),
        "hrnet_mpii": Augmentation(flip=0.5, rotation=30, rotation_law="normal", rotation_probability=0.6, scale=0.25),
        "fixed_view": Augmentation(rotation=10, rotation_law="normal", rotation_probability=0.6, scale=0.15),
    }
)


@dataclass(frozen=True)
class View:
    """A crop after augmentation: center (2,) px, scale (2,) in units of 200 px, rotation in degrees, mirrored or not.

    The mirror comes first (about the image's own vertical axis); center and rotation are of the mirrored image.
    """

    center: np.ndarray
    scale: np.ndarray
    rotation: float = 0.0
    flip: bool = False


def draw_view(
    augmentation: Augmentation,
    rng: np.random.Generator,
    center: np.ndarray,
    scale: np.ndarray,
    joints: np.ndarray,
    visible: np.ndarray,
    schema: KeypointSchema,
    image_width: int,
) -> View:
    """Draw a sample's view.

    Args:
        augmentation: what to vary.
        rng: the sample's own generator; the number of draws does not depend on the outcome of earlier ones.
        center, scale: (2,) of the person's crop.
        joints, visible: (K, 2) px and (K,).
        schema: tells the upper body.
        image_width: px, for mirroring the center.
    """
    half, upper, size, turned, turn, mirrored = (
        rng.random(),
        rng.standard_normal(),
        rng.standard_normal(),
        rng.random(),
        rng.uniform(-1, 1) if augmentation.rotation_law == "uniform" else np.clip(rng.standard_normal(), -2, 2),
        rng.random(),
    )
    if half < augmentation.half_body and np.count_nonzero(visible) > augmentation.half_body_joints:
        # A normal draw below 0.5, as HRNet has it: the upper body is taken with probability 0.69.
        chosen = half_body(joints, visible, schema, upper < 0.5, scale[0] / scale[1])
        center, scale = chosen if chosen else (center, scale)
    factor = np.clip(1 + augmentation.scale * size, 1 - augmentation.scale, 1 + augmentation.scale)
    scale = scale * float(factor)  # a Python float keeps the dtype, so that a factor of 1 changes no bit
    rotation = augmentation.rotation * float(turn) if turned < augmentation.rotation_probability else 0.0
    flip = mirrored < augmentation.flip
    if flip:
        center = np.array([image_width - 1 - center[0], center[1]])
    return View(center, scale, rotation, flip)


def half_body(
    joints: np.ndarray, visible: np.ndarray, schema: KeypointSchema, upper: bool, aspect: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """Center and scale around the labelled joints of the upper or of the lower body (HRNet's half-body transform).

    Args:
        joints, visible: (K, 2) px and (K,).
        schema: tells the upper body.
        upper: take the upper body if it has more than two labelled joints; the lower one is taken on the same
            condition, else the upper.
        aspect: width / height of the crop.

    Returns:
        center (2,) px and scale (2,) in units of 200 px, or None where fewer than two joints are left.
    """
    is_upper = np.isin(np.arange(len(joints)), schema.upper_body)
    top, bottom = joints[is_upper & (visible > 0)], joints[~is_upper & (visible > 0)]
    chosen = top if (upper and len(top) > 2) or len(bottom) <= 2 else bottom
    if len(chosen) < 2:
        return None
    width, height = np.ptp(chosen, axis=0)
    size = np.array([max(width, height * aspect), max(height, width / aspect)])
    if not size.all():
        return None
    return chosen.mean(axis=0), size / PIXEL_STD * _HALF_BODY_PADDING
