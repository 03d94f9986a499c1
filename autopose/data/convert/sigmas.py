"""OKS falloffs (sigmas) of joints that nobody has published any for.

Letters: K joints, R labels of one person.
"""

from collections.abc import Sequence

import numpy as np

from autopose.data.schema import standard_sigma

from .labels import UNLABELLED, Picture

# Of joints without a published value: between COCO's wrist (0.062) and ear (0.035).
GUESSED_SIGMA = 0.05
# Fewer repeated people than this say little about a joint's spread.
LEAST_REPEATS = 10
_SMALLEST_SIGMA = 0.005


def sigmas_of(
    joints: Sequence[str], pictures: Sequence[Picture], areas: Sequence[Sequence[float]]
) -> tuple[tuple[float, ...], str]:
    """A sigma for each joint and a sentence that says whence.

    COCO's definition: sigma^2 = E[d^2 / area] over labels of the same person, d the distance from the true place. With
    R labels the unbiased estimate of E[d^2] is the sum of squared distances from their mean over R - 1. Joints with
    fewer than ``LEAST_REPEATS`` people labelled twice take the published value of their body part where most joints
    have one, as people's do (a mouse's ear is no man's), or a guess.

    Args:
        joints: K names.
        pictures: with `LabelledPerson.repeats` where a person was labelled more than once.
        areas: px^2, of every person of every picture.
    """
    ratios: list[list[float]] = [[] for _ in joints]
    for picture, own in zip(pictures, areas, strict=True):
        for person, area in zip(picture.people, own, strict=True):
            labels = [(person.joints, person.visible), *person.repeats]
            for k in range(len(joints)):
                places = np.array([xy[k] for xy, visible in labels if visible[k] != UNLABELLED])
                if len(places) > 1:
                    ratios[k].append(float(((places - places.mean(axis=0)) ** 2).sum() / (len(places) - 1) / area))
    found, estimated, published = [], [], []
    known = [standard_sigma(joint) for joint in joints]
    like_people = sum(sigma is not None for sigma in known) > len(joints) / 2
    for joint, values, sigma in zip(joints, ratios, known, strict=True):
        standard = sigma if like_people else None
        if len(values) >= LEAST_REPEATS:
            estimated.append(joint)
            found.append(round(max(_SMALLEST_SIGMA, float(np.sqrt(np.mean(values)))), 4))
        else:
            published += [joint] if standard else []
            found.append(standard or GUESSED_SIGMA)
    return tuple(found), _whence(len(joints), estimated, published)


def _whence(count: int, estimated: list[str], published: list[str]) -> str:
    guessed = count - len(estimated) - len(published)
    parts = []
    if estimated:
        parts.append(f"{len(estimated)} estimated from people labelled more than once")
    if published:
        parts.append(f"{len(published)} as published for the body part (COCO)")
    if guessed:
        parts.append(f"{guessed} guessed at {GUESSED_SIGMA} (fewer than {LEAST_REPEATS} people were labelled twice)")
    return f"sigmas of {count} joints: {', '.join(parts)}"
