"""Picture files: their sizes, turns and digests, whether they can be decoded, and upright copies."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from autopose.data.checks import image_problem, read_image
from autopose.data.headers import picture_header, turn_upright
from autopose.errors import UserError

_HEADER_BYTES = 1 << 20
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class PictureFile:
    """Stored width and height in px, EXIF orientation (1: as stored) and a digest of the bytes."""

    width: int
    height: int
    orientation: int
    digest: str

    @property
    def shown(self) -> tuple[int, int]:
        """Width and height as a viewer shows it."""
        return (self.height, self.width) if self.orientation in (5, 6, 7, 8) else (self.width, self.height)


def inspect(path: Path) -> PictureFile:
    """Look at a picture; UserError where it is missing, truncated or not decodable."""
    problem = image_problem(path)
    if problem:
        raise UserError(f"the picture '{path}' cannot be used: {problem}")
    data = path.read_bytes()
    header = picture_header(data)
    width, height, orientation = header or (*read_image(path, upright=False).shape[1::-1], 1)
    return PictureFile(width, height, orientation, hashlib.sha256(data).hexdigest())


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height in px as a viewer shows the picture; UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEADER_BYTES)
            header = picture_header(start) or picture_header(start + file.read())
    except OSError as error:
        raise UserError(f"the picture '{path}' cannot be read: {error.strerror}") from None
    if header is None:
        width, height = read_image(path, upright=False).shape[1::-1]
        return width, height
    return PictureFile(*header, digest="").shown


def write_upright(source: Path, orientation: int, target: Path) -> None:
    """Write a picture turned as its EXIF tag asks, the tag left out; JPEGs are coded anew at quality 95."""
    picture = turn_upright(read_image(source, upright=False), orientation)
    suffix = target.suffix.lower()
    done, data = cv2.imencode(suffix, picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise UserError(f"the picture '{source}' cannot be written as {suffix}")
    target.write_bytes(np.asarray(data).tobytes())
