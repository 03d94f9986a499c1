"""The built-in dataset: drawn figures in COCO's layout, for when a person has no data at all.

The pictures depend on the seed, the split and the picture's number only, so a larger set begins with the smaller one.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from autopose.data.schema import COCO
from autopose.data.synthetic.scene import draw_scene
from autopose.errors import UserError
from autopose.progress import progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

SPLITS = ("train", "val")
_MARKER = "synthetic.json"
# Raised whenever the drawing changes, so that folders made by older code are drawn anew.
_VERSION = 1
_JPEG_QUALITY = 95
_SMALLEST_SIDE = 32


def synthetic_dataset(
    root: str | Path, seed: int, num_train: int, num_val: int, image_size: tuple[int, int] = (160, 160)
) -> Path:
    """Draw the dataset into a folder, or take what is there if it was drawn with the same arguments.

    A set is never replaced, because another run may be reading it; of several processes that ask, one draws.

    The folder holds annotations/person_keypoints_{train,val}.json, train/ and val/ with JPEG files, and a marker with
    the arguments; it appears whole or not at all.

    Args:
        root: the folder; made where it is not there.
        seed: not negative.
        num_train, num_val: pictures of each split.
        image_size: width and height in px.

    Returns:
        The folder.

    Raises:
        UserError: unusable arguments, a folder that holds something else or another set, or no space left.
    """
    root = Path(root)
    if seed < 0 or num_train < 1 or num_val < 1 or min(image_size) < _SMALLEST_SIDE:
        raise UserError(
            f"the synthetic set needs a seed of at least 0, at least 1 picture a split and {_SMALLEST_SIDE} px a side, "
            f"got seed {seed}, {num_train} and {num_val} pictures of {image_size[0]}x{image_size[1]}"
        )
    wanted = {
        "version": _VERSION,
        "seed": seed,
        "num_train": num_train,
        "num_val": num_val,
        "image_size": [int(side) for side in image_size],
    }
    if _marker(root) == wanted:
        return root
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with _turn(root):
            if _marker(root) != wanted:
                _refuse_other(root, wanted)
                _draw(root, wanted)
    except OSError as error:
        raise UserError(f"the synthetic set cannot be written to '{root}': {error.strerror or error}") from None
    return root


def set_name(seed: int, num_train: int, num_val: int, image_size: Sequence[int]) -> str:
    """A folder's name that tells all that a drawn set depends on."""
    return f"synthetic-v{_VERSION}-seed{seed}-{num_train}-{num_val}-{image_size[0]}x{image_size[1]}"


@contextmanager
def _turn(root: Path) -> Iterator[None]:
    """Wait until no other process draws the set; where the system has no file locks, both draw and one is kept."""
    if fcntl is None:
        yield
        return
    with open(root.parent / f".{root.name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _refuse_other(root: Path, wanted: dict) -> None:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not root.is_dir() or not (root / _MARKER).is_file():
        raise UserError(
            f"'{root}' holds something else than a synthetic set: name another folder for it (data.root), or with "
            "data=coco, mpii or keypoints (COCO-style) the kind of set that is there"
        )
    found = _marker(root)
    differ = [key for key in wanted if not isinstance(found, dict) or found.get(key) != wanted[key]]
    raise UserError(
        f"'{root}' holds another synthetic set (other {', '.join(differ)}), which a run may be using: leave data.root "
        "empty, so that every set gets a folder of its own, or name another folder"
    )


def _draw(root: Path, wanted: dict) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        for split in SPLITS:
            _write_split(draft, split, wanted["seed"], wanted[f"num_{split}"], tuple(wanted["image_size"]))
        (draft / _MARKER).write_text(json.dumps(wanted), encoding="utf-8")
        draft.chmod(0o755)
        try:
            os.rename(draft, root)
        except OSError:
            if _marker(root) != wanted:
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_drawn_set(root: str) -> bool:
    """Whether a folder holds a drawn set, of whatever arguments."""
    return bool(root) and (Path(root) / _MARKER).is_file()


def _marker(root: Path) -> object:
    """The arguments the folder was drawn with, or None; an unreadable marker counts as other arguments."""
    try:
        return json.loads((root / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_split(root: Path, split: str, seed: int, count: int, size_wh: tuple[int, int]) -> None:
    (root / split).mkdir()
    images, annotations = [], []
    for index in progress(range(count), f"drawing {split}"):
        rng = np.random.default_rng((seed, SPLITS.index(split), index))
        picture, people = draw_scene(rng, size_wh)
        name = f"{index:06d}.jpg"
        _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (root / split / name).write_bytes(data.tobytes())
        images.append({"id": index, "file_name": name, "width": size_wh[0], "height": size_wh[1]})
        for person in people:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": person["bbox"],
                    "area": person["area"],
                    "num_keypoints": int(np.count_nonzero(person["keypoints"][:, 2])),
                    "keypoints": [
                        int(v) if n % 3 == 2 else v for n, v in enumerate(person["keypoints"].ravel().tolist())
                    ],
                }
            )
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO.joints),
        "skeleton": [[a + 1, b + 1] for a, b in COCO.skeleton],
    }
    document = {"images": images, "annotations": annotations, "categories": [category]}
    path = root / "annotations" / f"person_keypoints_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
