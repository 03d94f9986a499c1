"""The one writer: a folder with COCO keypoint annotations and pictures, which appears whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autopose.data.picture_files import PictureFile, write_upright
from autopose.data.schema import KeypointSchema, schema_from_category
from autopose.errors import UserError
from autopose.progress import progress

from .labels import UNLABELLED, Picture

_CATEGORY_ID = 1
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Prepared:
    """Everything that is written; lists run parallel to ``pictures``, boxes and areas have one entry a person."""

    category: str
    joints: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple, ...]
    sigmas: tuple[float, ...]
    sigma_note: str
    pictures: Sequence[Picture]
    files: Sequence[PictureFile]
    sizes: Sequence[tuple[int, int]]
    splits: Sequence[str]
    boxes: Sequence[Sequence[tuple[float, float, float, float]]]
    areas: Sequence[Sequence[float]]
    turned: bool
    notes: Sequence[str]

    def schema(self) -> KeypointSchema:
        """The joints; UserError where names, pairs or sigmas cannot be used."""
        category = {"name": self.category, "keypoints": list(self.joints)}
        return schema_from_category(
            category, flip_pairs=self.flip_pairs, sigmas=self.sigmas, skeleton=[list(bone) for bone in self.skeleton]
        )


def check_out(out: Path) -> None:
    """UserError where the folder to be made holds something or cannot be made."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"'{out}' is there already and is not overwritten: give another out=, or remove it")


def write_set(prepared: Prepared, out: Path, link: bool) -> None:
    """Write the set.

    Raises:
        UserError: the folder is in use, or the disk does not take the set.
    """
    schema = prepared.schema()
    draft = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        names = _write_pictures(prepared, draft / "images", link)
        (draft / "annotations").mkdir()
        for split in SPLITS:
            if split in prepared.splits:
                document = json.dumps(_document(prepared, schema, names, split))
                (draft / "annotations" / f"person_keypoints_{split}.json").write_text(document, encoding="utf-8")
        draft.chmod(0o755)
        check_out(out)
        os.replace(draft, out)
    except OSError as error:
        raise UserError(f"the set cannot be written to '{out}': {error.strerror or error}") from None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)


def _write_pictures(prepared: Prepared, folder: Path, link: bool) -> list[str]:
    """Copies (or links) under their names; where two have one name, the later gets a number."""
    names: list[str] = []
    taken: set[str] = set()
    pairs = zip(prepared.pictures, prepared.files, strict=True)
    for picture, file in progress(pairs, "writing pictures", len(prepared.pictures)):
        path, number = Path(picture.name), 1
        name = picture.name
        # File systems that ignore case would let one picture overwrite another.
        while name.lower() in taken:
            name = path.with_name(f"{path.stem}_{number}{path.suffix}").as_posix()
            number += 1
        taken.add(name.lower())
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if prepared.turned and file.orientation != 1:
            write_upright(picture.path, file.orientation, target)
        elif link:
            target.symlink_to(picture.path.resolve())
        else:
            shutil.copyfile(picture.path, target)
        names.append(name)
    return names


def _document(prepared: Prepared, schema: KeypointSchema, names: list[str], split: str) -> dict:
    images, annotations = [], []
    for n, picture in enumerate(prepared.pictures):
        if prepared.splits[n] != split:
            continue
        width, height = prepared.sizes[n]
        images.append({"id": n + 1, "file_name": names[n], "width": width, "height": height})
        for person, box, area in zip(picture.people, prepared.boxes[n], prepared.areas[n], strict=True):
            if not np.any(person.visible != UNLABELLED):
                continue
            keypoints = [
                v for (x, y), s in zip(person.joints.tolist(), person.visible.tolist(), strict=True) for v in (x, y, s)
            ]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": n + 1,
                    "category_id": _CATEGORY_ID,
                    "iscrowd": 0,
                    "bbox": list(box),
                    "area": area,
                    "num_keypoints": int(np.count_nonzero(person.visible)),
                    "keypoints": keypoints,
                }
            )
    category = {
        "id": _CATEGORY_ID,
        "name": prepared.category,
        "keypoints": list(schema.joints),
        "skeleton": [[a + 1, b + 1] for a, b in schema.skeleton],
        "flip_pairs": [list(pair) for pair in schema.flip_pairs],
        "sigmas": list(schema.sigmas),
    }
    info = {"description": "; ".join([prepared.sigma_note, *prepared.notes])}
    return {"info": info, "images": images, "annotations": annotations, "categories": [category]}
