"""Training and validation pictures where the source has no split: by seed, identical pictures always together."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from autopose.errors import UserError

from .labels import Picture

BY = ("image", "folder")
_NUMBERED = re.compile(r"\d+$")


def split_pictures(
    pictures: Sequence[Picture], digests: Sequence[str], seed: int, fraction: float, by: str
) -> tuple[list[str], str]:
    """A split for each picture and a sentence that says how it was made.

    Args:
        pictures: all of them; where some are in a split "val", their splits are kept.
        digests: of the pictures' bytes; equal ones go into one split.
        seed: of the draw.
        fraction: share of the pictures that becomes "val".
        by: "image", or "folder": whole folders (videos) become "val" until the share is reached.

    Raises:
        UserError: too few pictures, or only one folder to split by folder.
    """
    given = Counter(picture.split for picture in pictures)
    if given["val"]:
        kept = [picture.split or "train" for picture in pictures]
        return kept, "The splits are the source's."
    free = [n for n, picture in enumerate(pictures) if picture.split != "test"]
    units: dict[str, list[int]] = {}
    for n in free:
        folder = pictures[n].name.rpartition("/")[0]
        units.setdefault(folder if by == "folder" else digests[n], []).append(n)
    if len(units) < 2:
        what = "folders (videos): split=image splits by picture" if by == "folder" else "different pictures"
        raise UserError(f"a set is split into training and validation, which needs at least two {what}")
    wanted = max(1, round(fraction * len(free)))
    splits = [picture.split or "train" for picture in pictures]
    taken = 0
    order = [list(units.values())[n] for n in np.random.default_rng(seed).permutation(len(units))]
    for unit in order[:-1]:
        if taken >= wanted:
            break
        for n in unit:
            splits[n] = "val"
        taken += len(unit)
    how = "whole folders" if by == "folder" else "by picture"
    return splits, f"{taken} of {len(free)} pictures are held out as val, drawn {how} with seed {seed}."


def neighbouring(pictures: Sequence[Picture]) -> bool:
    """Whether the pictures look like frames of videos: they say so, or are numbered in a row."""
    if any(picture.group for picture in pictures):
        return True
    stems = [re.sub(r"\.\w+$", "", picture.name) for picture in pictures]
    families = Counter(_NUMBERED.sub("", stem) for stem in stems if _NUMBERED.search(stem) and "frame" in stem.lower())
    return bool(families) and max(families.values()) > len(pictures) / 4


NEIGHBOURS = (
    "These are frames of videos, split one by one: a validation frame has neighbours in training, so its score says "
    "how well the network fills in these videos, not how it does on a new one (split=folder holds out whole videos)."
)
