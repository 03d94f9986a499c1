"""Pictures of a data set against their annotated sizes: turned where EXIF explains the difference, else refused.

Labels are in px of the annotated picture. Viewers and labelling tools show a picture as its EXIF orientation says;
others read it as it is stored. Which of the two a set was labelled on, the annotated width and height tell.
"""

import os
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np

from autopose.data.checks import read_image
from autopose.data.headers import picture_header
from autopose.data.records import ImageFile
from autopose.errors import UserError
from autopose.progress import progress

EXIF_CHOICES = ("auto", "turn", "ignore")
_HEADER_BYTES = 1 << 16
_SHOWN = 3
# A resized picture's sides may differ by a px, or half a percent, from the annotated ratio.
_RATIO_PX, _RATIO = 1.0, 0.005
_QUARTER_TURNS = (5, 6, 7, 8)

Header = tuple[int, int, int]  # stored width and height, EXIF orientation


def read_picture(file: ImageFile) -> np.ndarray:
    """A picture of a data set in px of its annotation: (H, W, 3) uint8 RGB, turned and resized as ``file`` says.

    Raises:
        UserError: missing, not decodable, or of another size than when it was looked at.
    """
    picture = read_image(file.path, upright=file.turned)
    size = (file.width, file.height)
    if file.rescaled:
        shrinks = picture.shape[1] > file.width
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if None not in size and picture.shape[1::-1] != size:
        raise UserError(
            f"the image '{file.path}' is {picture.shape[1]}x{picture.shape[0]} px, but is annotated as "
            f"{file.width}x{file.height}"
        )
    return picture


def fit_pictures(
    images: Mapping[int, ImageFile], used: Collection[int], exif: str = "auto", rescale: bool = False
) -> tuple[dict[int, ImageFile], dict[str, str]]:
    """The images with what is to be done to each when it is read, and remarks for the protocol.

    Args:
        images: by id; without an annotated size they are taken as stored (or turned with ``exif="turn"``).
        used: ids of those that will be read; only these are looked at.
        exif: "auto": as the annotated sizes say; "turn": labelled as viewers show them; "ignore": as stored.
        rescale: resize pictures of another size than annotated, where the sides' ratio is the same.

    Raises:
        UserError: sizes differ, or EXIF orientations of which the sizes tell nothing; with counts and names.
    """
    ids = sorted(set(used))
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = progress(pool.map(lambda key: _header(images[key].path), ids), "reading sizes", len(ids))
        headers = dict(zip(ids, read, strict=True))
    labelled_upright = _labelled_upright(images, headers, exif)
    found, wrong, turned, rescaled = dict(images), [], 0, 0
    for key, header in headers.items():
        file = images[key]
        turn = header[2] != 1 and _is_turned(file, header, labelled_upright)
        width, height = _shown(header) if turn else header[:2]
        other = None not in (file.width, file.height) and (width, height) != (file.width, file.height)
        if other and not (rescale and _same_ratio(file, width, height)):
            wrong.append(f"'{file.path}' is {width}x{height} px and annotated as {file.width}x{file.height}")
        turned, rescaled = turned + turn, rescaled + other
        found[key] = replace(file, turned=turn, rescaled=other)
    if wrong:
        _refuse_sizes(wrong, len(ids), rescale)
    remarks = {}
    if turned:
        remarks["pictures turned"] = f"{turned} of {len(ids)} by their EXIF orientation"
    if rescaled:
        remarks["pictures resized"] = f"{rescaled} of {len(ids)} to their annotated size (data.rescale)"
    return found, remarks


def _header(path: str) -> Header:
    try:
        with open(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
            header = picture_header(start) or picture_header(start + file.read())
    except OSError as error:
        raise UserError(f"the image '{path}' cannot be read: {error.strerror or error}") from None
    return header or (*read_image(path, upright=False).shape[1::-1], 1)


def _shown(header: Header) -> tuple[int, int]:
    width, height, orientation = header
    return (height, width) if orientation in _QUARTER_TURNS else (width, height)


def _tells(file: ImageFile, header: Header) -> bool | None:
    """Whether the annotated size is the shown one (True) or the stored one (False); None where it tells nothing."""
    if header[2] not in _QUARTER_TURNS or header[0] == header[1] or None in (file.width, file.height):
        return None
    sizes = header[:2], _shown(header)
    for stored, shown in (
        [(file.width, file.height) == size for size in sizes],
        [_same_ratio(file, *s) for s in sizes],
    ):
        if stored != shown:
            return shown
    return None


def _labelled_upright(images: Mapping[int, ImageFile], headers: Mapping[int, Header], exif: str) -> bool:
    """Whether pictures of which the size tells nothing were labelled as shown: as the others of the set."""
    if exif != "auto":
        return exif == "turn"
    marked = {key: header for key, header in headers.items() if header[2] != 1 and images[key].width is not None}
    told = {key: _tells(images[key], header) for key, header in marked.items()}
    votes = {vote for vote in told.values() if vote is not None}
    unclear = [key for key, vote in told.items() if vote is None]
    if unclear and len(votes) != 1:
        names = ", ".join(f"'{images[key].path}' (orientation {headers[key][2]})" for key in unclear[:_SHOWN])
        raise UserError(
            f"{len(unclear)} of {len(headers)} pictures carry an EXIF orientation, and their size does not tell "
            f"whether they were labelled turned, as viewers show them, or as stored: {names}; say data.exif=turn or "
            "data.exif=ignore"
        )
    return votes == {True}


def _is_turned(file: ImageFile, header: Header, labelled_upright: bool) -> bool:
    tells = _tells(file, header)
    return labelled_upright if tells is None else tells


def _same_ratio(file: ImageFile, width: int, height: int) -> bool:
    expected = width * file.height / file.width
    return abs(expected - height) <= max(_RATIO_PX * max(1.0, height / file.height), _RATIO * height)


def _refuse_sizes(wrong: list[str], count: int, rescale: bool) -> None:
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    remedy = (
        "their sides' ratio differs, so they are no resized copies (data.rescale): give the pictures that were labelled"
        if rescale
        else "give the pictures that were labelled, or say data.rescale=true to resize them to the annotated size"
    )
    names = "; ".join(wrong[:_SHOWN])
    raise UserError(f"{len(wrong)} of {count} pictures are of another size than annotated: {names}{more}; {remedy}")
