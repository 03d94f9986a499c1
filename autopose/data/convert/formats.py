"""The table of formats that can be converted, and names for what cannot."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autopose.errors import UserError

from . import cvat, deeplabcut, label_studio, labelme, mpii, table, yolo
from .labels import Labels, Problems, ReadOptions


@dataclass(frozen=True)
class Format:
    """A format: what it is called, how its files are recognised and read."""

    title: str
    looks_like: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions, Problems], Labels]


# In the order of recognition: a DeepLabCut table is a CSV file as well.
FORMATS = {
    "deeplabcut": Format("DeepLabCut project or table, Lightning Pose table", deeplabcut.looks_like, deeplabcut.read),
    "yolo": Format("YOLO-pose folder (ultralytics, Roboflow)", yolo.looks_like, yolo.read),
    "cvat": Format("CVAT for images 1.1 (XML)", cvat.looks_like, cvat.read),
    "label_studio": Format("Label Studio export (JSON)", label_studio.looks_like, label_studio.read),
    "labelme": Format("LabelMe folder", labelme.looks_like, labelme.read),
    "mpii": Format("MPII (.mat)", mpii.looks_like, mpii.read),
    "csv": Format("plain table (file,joint_x,joint_y)", table.looks_like, table.read),
}
_START = 4096


def recognise(source: Path) -> str:
    """The name of the format of a source.

    Raises:
        UserError: none fits; the sentence says what it looks like where that can be seen.
    """
    try:
        name = next((name for name, known in FORMATS.items() if known.looks_like(source)), None)
        what = seen(source) if name is None else None
    except OSError as error:
        raise UserError(f"'{error.filename or source}' cannot be read: {error.strerror}") from None
    if name is not None:
        return name
    raise UserError(
        f"'{source}' {f'looks like {what}' if what else 'is of no format known here'}; what can be converted: "
        f"{', '.join(FORMATS)} (format=)"
    )


def seen(source: Path) -> str | None:
    """What a file or folder looks like that is not converted, and what helps; None where nothing is recognised."""
    if source.is_dir():
        return _seen_folder(source)
    start = source.open("rb").read(_START)
    if zipfile.is_zipfile(source):
        return "an archive: unpack it and give the folder"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file (DeepLabCut's .h5, SLEAP's .slp): give DeepLabCut's CollectedData_*.csv or SLEAP's export"
    if source.suffix == ".xml" and b"<annotation>" in start:
        return "Pascal VOC, which has boxes and no joints"
    if source.suffix == ".json":
        if b'"images"' in start or b'"categories"' in start or b'"annotations"' in start:
            return "COCO keypoints already: python -m autopose.data check data.root=FOLDER"
        if b"_via_" in start or b'"regions"' in start:
            return "VIA, which is not read: export it as COCO or as a table"
        return "a JSON file that no labelling tool known here writes"
    if source.suffix in (".csv", ".tsv"):
        return "a table without a header like file,nose_x,nose_y"
    return None


def _seen_folder(source: Path) -> str | None:
    if any(source.glob("annotations/*.json")) or (source / "_annotations.coco.json").is_file():
        return "COCO keypoints already: python -m autopose.data check data.root=FOLDER"
    if any(source.glob("annot/*.json")):
        return "HRNet's MPII files, which are read as they are: python -m autopose.data check data.root=FOLDER"
    if any(source.rglob("*.slp")):
        return "a SLEAP project: export its labels as a table or as COCO"
    if any(source.rglob("CollectedData*.h5")):
        return "a DeepLabCut project with HDF5 only: CollectedData_*.csv is read (deeplabcut.convert_h5_to_csv)"
    if (source / "data.yaml").is_file():
        return "a YOLO set of boxes: its data.yaml has no kpt_shape, which tells the joints"
    if next(source.glob("labels/**/*.txt"), None) is not None:
        return "a YOLO folder without its data.yaml, which tells the joints (kpt_shape): put it there"
    single = sorted({p.suffix for p in source.iterdir() if p.suffix in (".xml", ".json", ".csv", ".mat", ".zip")})
    if single:
        return f"a folder with {', '.join(single)} files: give the file itself as source="
    return None
