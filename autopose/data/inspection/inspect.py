"""The whole look at a dataset: files once, then every finding, the sheet and the recommended input size."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autopose.data.picture_files import PictureFile, inspect
from autopose.data.pictures import fit_pictures
from autopose.data.records import PoseAnnotations
from autopose.errors import UserError
from autopose.progress import progress

from . import findings as words
from .command import FIXED_VIEW
from .findings import Findings
from .sheet import draw_sheet
from .sizes import body_sizes, histogram, recommended_input
from .views import seen_from_one_side


@dataclass(frozen=True)
class Inspection:
    """Findings, the recommended keys of ``data``, and the text of the sizes' histogram."""

    findings: Findings
    recommended: dict[str, object]
    histogram: list[str]


def inspect_dataset(
    splits: Mapping[str, PoseAnnotations], sheet: Path, seed: int, exif: str, rescale: bool
) -> Inspection:
    """Look at every picture and label of the splits.

    Args:
        splits: "train" and "val", or one of them.
        sheet: where the contact sheet is written.
        seed: of the pictures on it.
        exif, rescale: how pictures are read, see ``pictures.fit_pictures``.
    """
    found = Findings()
    paths = list(dict.fromkeys(image.path for split in splits.values() for image in split.images.values()))
    files = _files(paths)
    for name, split in splits.items():
        words.count_split(name, split, found)
    words.describe_joints(splits, found)
    words.describe_pictures(splits, files, found)
    words.describe_boxes(splits, files, found)
    words.find_duplicates(splits, files, found)
    words.judge_counts(splits, found)
    persons = [person for split in splits.values() for person in split.persons]
    bodies = body_sizes(persons)
    if len(bodies):
        low, middle, high = np.percentile(bodies, [5, 50, 95])
        found.add("people", f"joints span {middle:.0f} px in the median, {low:.0f} to {high:.0f} px from 5 to 95 %")
    size, why = recommended_input(persons)
    found.add("input", why)
    recommended: dict[str, object] = {"image_size": list(size)}
    if seen_from_one_side(persons, next(iter(splits.values())).schema):
        recommended["augmentation"] = FIXED_VIEW
        words.note_fixed_view(found)
    readable = {name: _readable(split, files, exif, rescale, found) for name, split in splits.items()}
    readable = {name: split for name, split in readable.items() if split.persons}
    if readable:
        count = draw_sheet(readable, sheet, seed)
        found.add("sheet", f"{sheet} shows {count} pictures with their joints: look at it")
    return Inspection(found, recommended, histogram(bodies))


def _readable(
    split: PoseAnnotations, files: Mapping[str, PictureFile | str], exif: str, rescale: bool, found: Findings
) -> PoseAnnotations:
    """The pictures that can be drawn, turned and resized as in training; as stored where that cannot be decided."""
    split = split.subset([key for key, i in split.images.items() if isinstance(files[i.path], PictureFile)])
    try:
        images, _ = fit_pictures(split.images, [person.image_id for person in split.persons], exif, rescale)
    except UserError as error:
        if not any("another size" in sentence for sentence in found.wrong):
            found.wrong.append(f"{error}.")
        images = {key: replace(image, width=None, height=None) for key, image in split.images.items()}
    return replace(split, images=images)


def _files(paths: list[str]) -> dict[str, PictureFile | str]:
    """What is known of each picture, or the sentence that says why it cannot be used."""

    def look(path: str) -> PictureFile | str:
        try:
            return inspect(Path(path))
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(paths, progress(pool.map(look, paths), "reading pictures", len(paths)), strict=True))
