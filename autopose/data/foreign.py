"""What a file or folder that is no COCO keypoint JSON looks like, and the command that converts it."""

import shlex
from pathlib import Path

from autopose.errors import UserError


def hint(*places: str | Path) -> str:
    """A clause to end a refusal with, empty where none of the places looks like anything known.

    Args:
        places: the file that was to be read, and the folder that holds it.
    """
    from autopose.data.convert.formats import FORMATS, seen

    for place in (Path(place) for place in places):
        if not place.exists():
            continue
        for form in FORMATS.values():
            try:
                found = form.looks_like(place)
            except (UserError, OSError, UnicodeDecodeError):
                continue
            if found:
                command = shlex.join(["python", "-m", "autopose.data", "convert", f"source={place}", "out=FOLDER"])
                return f"; it looks like {form.title}: {command} writes COCO keypoints from it"
        try:
            looks = seen(place)
        except OSError:
            continue  # the refusal itself says that it cannot be read
        if looks and not looks.startswith(("COCO", "a folder with .json")):
            return f"; it looks like {looks}"
    return ""


def hint_of_document(document: object) -> str:
    """The same for parsed JSON: results or MPII annotations where COCO annotations were expected."""
    first = document[0] if isinstance(document, list) and document else None
    if isinstance(first, dict):
        if {"image", "center", "scale"} <= set(first):
            return "; it looks like MPII in HRNet's form: data=mpii reads it"
        if "image_id" in first:
            return "; it looks like COCO results or detections: give the annotation (results= or data.detections= here)"
    return ""
