"""From a source in any known format to a folder with COCO keypoints: read, look at the pictures, split, write."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from autopose.data.names import mirror_pairs
from autopose.data.picture_files import PictureFile, inspect
from autopose.errors import UserError
from autopose.progress import progress

from . import boxes, partition
from .formats import FORMATS, recognise
from .labels import UNLABELLED, LabelledPerson, Labels, Picture, Problems, ReadOptions
from .sigmas import sigmas_of
from .write import Prepared, check_out, write_set


@dataclass(frozen=True)
class Settings:
    """What a conversion may be told.

    Attributes:
        source: folder or file with labels; out: folder to make, which must not hold anything yet.
        format: one of `formats.FORMATS`; None: recognised.
        pictures: folder of the pictures where they do not lie beside the labels.
        seed, val_fraction, split: see `partition.split_pictures`; for sources without a validation split.
        boxes: of people without one: auto, joints or picture, see `boxes.boxes_and_areas`.
        joints: names in order, for sources without names, or a choice among them.
        flip_pairs: pairs of names or 0-based indices; None: the source's, else by the names.
        sigmas: K numbers; None: estimated or guessed, see `sigmas.sigmas_of`.
        category: name of what is labelled; None: the source's.
        link: link the pictures instead of copying them.
    """

    source: str | Path
    out: str | Path
    format: str | None = None
    pictures: str | Path | None = None
    seed: int = 0
    val_fraction: float = 0.2
    split: str = "image"
    boxes: str = "auto"
    joints: tuple[str, ...] | None = None
    flip_pairs: tuple | None = None
    sigmas: tuple[float, ...] | None = None
    category: str | None = None
    link: bool = False

    def __post_init__(self):
        for key, value, valid in (("split", self.split, partition.BY), ("boxes", self.boxes, boxes.CHOICES)):
            if value not in valid:
                raise UserError(f"{key} must be one of {', '.join(valid)}, but is {value!r}")
        if self.format is not None and self.format not in FORMATS:
            raise UserError(f"format must be one of {', '.join(FORMATS)}, but is {self.format!r}")
        if not 0 < self.val_fraction < 1 or self.seed < 0:
            raise UserError(
                f"val_fraction lies between 0 and 1 and seed is at least 0, got {self.val_fraction:g} and {self.seed}"
            )


@dataclass(frozen=True)
class Converted:
    """What came out: sentences in words for people, what was left out, and the folder."""

    folder: Path
    lines: list[str]
    problems: Problems


def convert(settings: Settings) -> Converted:
    """Write ``out/annotations/person_keypoints_{train,val[,test]}.json`` and ``out/images/``, whole or not at all.

    Raises:
        UserError: nothing can be converted, or ``out`` is in use.
    """
    source = Path(settings.source)
    if not source.exists():
        raise UserError(f"the source '{source}' does not exist")
    pictures_folder = Path(settings.pictures) if settings.pictures else None
    if pictures_folder and not pictures_folder.is_dir():
        raise UserError(f"the folder of pictures '{pictures_folder}' does not exist")
    check_out(Path(settings.out))
    name = settings.format or recognise(source)
    problems = Problems()
    labels = FORMATS[name].read(source, ReadOptions(pictures_folder, settings.joints), problems)
    labels, files = _usable(labels, problems)
    if not any(picture.people for picture in labels.pictures):
        raise UserError(f"'{source}' has no picture with labels that can be used{_left_out(problems)}")
    try:
        prepared = _prepared(labels, files, settings)
    except UserError as error:
        raise UserError(f"{error}{_left_out(problems)}") from None
    write_set(prepared, Path(settings.out), settings.link)
    return Converted(Path(settings.out), _report(name, prepared, labels), problems)


def _left_out(problems: Problems) -> str:
    return f" (left out: {problems})" if problems.count else ""


def _usable(labels: Labels, problems: Problems) -> tuple[Labels, list[PictureFile]]:
    """The pictures that can be read, with the labels in px of the picture that is written."""

    def look(picture: Picture) -> PictureFile | str:
        try:
            return inspect(picture.path)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = list(progress(pool.map(look, labels.pictures), "reading pictures", len(labels.pictures)))
    kept, files = [], []
    for picture, file in zip(labels.pictures, found, strict=True):
        if isinstance(file, str):
            problems.add("pictures unusable", file)
            continue
        size = file.shown if labels.turned else (file.width, file.height)
        if picture.size not in (None, size):
            expected = "x".join(map(str, picture.size))
            problems.add(
                "pictures of another size than labelled",
                f"'{picture.path}' is {size[0]}x{size[1]} px, but was labelled at {expected}.",
            )
            continue
        outside = sum(_outside(person, size) for person in picture.people)
        if outside:
            problems.add("pictures with joints outside", f"'{picture.path}' ({size[0]}x{size[1]}): {outside} joints.")
            continue
        kept.append(picture)
        files.append(file)
    return replace(labels, pictures=tuple(kept)), files


def _outside(person: LabelledPerson, size: tuple[int, int]) -> int:
    """Labelled joints further outside than a picture's own size, which are no slips of the hand but wrong units."""
    labelled = person.joints[person.visible != UNLABELLED]
    return int(((labelled < [-size[0], -size[1]]) | (labelled > [2 * size[0], 2 * size[1]])).any(axis=1).sum())


def _prepared(labels: Labels, files: list[PictureFile], settings: Settings) -> Prepared:
    pictures = labels.pictures
    sizes = [file.shown if labels.turned else (file.width, file.height) for file in files]
    splits, split_note = partition.split_pictures(
        pictures, [f.digest for f in files], settings.seed, settings.val_fraction, settings.split
    )
    people_boxes, areas, box_note = boxes.boxes_and_areas(pictures, sizes, settings.boxes)
    sigmas, sigma_note = sigmas_of(labels.joints, pictures, areas)
    if settings.sigmas is not None:
        sigmas, sigma_note = settings.sigmas, "sigmas as given"
    pairs = settings.flip_pairs if settings.flip_pairs is not None else labels.flip_pairs
    notes = [*labels.notes, split_note, box_note]
    if settings.split == "image" and "drawn" in split_note and partition.neighbouring(pictures):
        notes.append(partition.NEIGHBOURS)
    return Prepared(
        category=settings.category or labels.category,
        joints=labels.joints,
        skeleton=labels.skeleton,
        flip_pairs=mirror_pairs(labels.joints)[0] if pairs is None else tuple(tuple(pair) for pair in pairs),
        sigmas=tuple(sigmas),
        sigma_note=sigma_note,
        pictures=pictures,
        files=files,
        sizes=sizes,
        splits=splits,
        boxes=people_boxes,
        areas=areas,
        turned=labels.turned,
        notes=notes,
    )


def _report(name: str, prepared: Prepared, labels: Labels) -> list[str]:
    people = Counter()
    for picture, split in zip(prepared.pictures, prepared.splits, strict=True):
        people[split] += len(picture.people)
    counts = Counter(prepared.splits)
    schema = prepared.schema()
    paired = [f"{schema.joints[a]} - {schema.joints[b]}" for a, b in schema.flip_pairs]
    lines = [
        f"format     {name}: {FORMATS[name].title}",
        *(
            f"{split:<10} {counts[split]} pictures, {people[split]} people"
            for split in ("train", "val", "test")
            if counts[split]
        ),
        f"joints     {len(schema.joints)}: {', '.join(schema.joints)}",
        f"mirrored   {', '.join(paired) or 'no pair: a mirrored picture keeps every joint name (flip_pairs=)'}",
        f"sigmas     {prepared.sigma_note.partition(': ')[2] or prepared.sigma_note}",
    ]
    turned = sum(file.orientation != 1 for file in prepared.files)
    if turned:
        how = "written upright" if labels.turned else "kept as stored, as these labels were made on stored pixels"
        lines.append(f"note       {turned} pictures carry an EXIF turn: {how}.")
    nobody = sum(not picture.people for picture in prepared.pictures)
    if nobody:
        lines.append(f"note       {nobody} pictures have nobody labelled on them.")
    return lines + [f"note       {note}" for note in prepared.notes]
