"""What a search may see: training images only, cut into parts that share no image."""

from dataclasses import dataclass

import numpy as np

from autopose.data.records import PoseAnnotations
from autopose.errors import UserError

REWARD_SPLITS = ("train", "paper")


@dataclass(frozen=True)
class SearchSplit:
    """Annotations for the steps of ω, for those of α and for the controller's reward, and a line that says whence."""

    weights: PoseAnnotations
    alpha: PoseAnnotations
    reward: PoseAnnotations
    description: str


def split_search(
    train: PoseAnnotations,
    seed: int,
    *,
    reward_images: int = 500,
    reward_fraction: float = 0.25,
    reward_split: str = "train",
    validation: PoseAnnotations | None = None,
) -> SearchSplit:
    """Cut training annotations by image: half for the weights, half for α, a held-out part of α's half for the reward.

    Images without a person to crop are in no part. The cut depends on the image ids and the seed only.

    Args:
        train: annotations of the training split, ground-truth boxes.
        seed: of the cut, fixed through a search.
        reward_images: at most this many images for the reward.
        reward_fraction: and at most this share of α's half.
        reward_split: train, or paper: the reward is taken on `validation` as the paper does (§4.2) and α keeps its
            whole half; validation images then influence the search, which the description says.
        validation: needed for paper.

    Raises:
        UserError: too few images to cut, or an unknown reward split.
    """
    if reward_split not in REWARD_SPLITS:
        raise UserError(f"unknown reward split '{reward_split}': expected one of {', '.join(REWARD_SPLITS)}")
    if reward_images < 1 or not 0 < reward_fraction < 1:
        raise UserError(
            f"expected at least 1 reward image and a reward fraction in (0, 1), got {reward_images}, {reward_fraction}"
        )
    ids = np.array(sorted({person.image_id for person in train.persons}))
    if len(ids) < 3:
        raise UserError(f"a search needs at least 3 training images with people, but the set has {len(ids)}")
    ids = np.random.default_rng(seed).permutation(ids)
    weights, alpha = ids[: len(ids) // 2].tolist(), ids[len(ids) // 2 :].tolist()
    if reward_split == "paper":
        if validation is None:
            raise UserError("the reward split 'paper' needs the validation annotations")
        reward, source = validation, "the VALIDATION set, as in the paper: validation images influence this search"
    else:
        count = max(1, min(reward_images, int(reward_fraction * len(alpha))))
        reward, alpha = train.subset(alpha[:count]), alpha[count:]
        source = "training images held out of both"
    parts = train.subset(weights), train.subset(alpha), reward
    counts = [f"{len({p.image_id for p in part.persons})} images, {len(part.persons)} persons" for part in parts]
    description = f"weights: {counts[0]}; alpha: {counts[1]}; reward: {counts[2]} ({source})"
    return SearchSplit(*parts, description)
