"""Size and EXIF orientation of a picture from its first bytes, and the turning that the orientation asks for.

Orientations are EXIF's 1 to 8 (CIPA DC-008, tag 0x0112): 1 as stored, 6 the stored picture must be turned clockwise.
Letters: H and W the stored height and width.
"""

import struct

import numpy as np

_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN = 0xDA
_ORIENTATION_TAG = 0x0112


def picture_header(data: bytes) -> tuple[int, int, int] | None:
    """Stored width and height in px and EXIF orientation of a JPEG or PNG; None for any other or a broken file."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
    except (struct.error, IndexError):
        pass
    return None


def is_whole_jpeg(data: bytes) -> bool:
    """Whether an end marker follows the start of the coded picture (thumbnails before it have markers of their own)."""
    start = _scan_start(data)
    return start is not None and data.find(b"\xff\xd9", start) >= 0


def is_whole_png(data: bytes) -> bool:
    """Whether the chain of chunks is whole up to IEND."""
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if kind == b"IEND":
            return position <= len(data)
    return False


def _scan_start(data: bytes) -> int | None:
    """Where the first scan of a JPEG begins, None where the segments before it are broken."""
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != 0xFF:
            return None
        if marker == _START_OF_SCAN:
            return position
        if marker == 0xFF:
            position += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _jpeg(data: bytes) -> tuple[int, int, int] | None:
    position, orientation = 2, 1
    while position < len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            position += 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return width, height, orientation
        if marker == 0xE1 and data[position + 4 : position + 10] == b"Exif\0\0":
            orientation = _tiff_orientation(data[position + 10 : position + 2 + length])
        position += 2 + length
    return None


def _png(data: bytes) -> tuple[int, int, int] | None:
    position, size, orientation = 8, None, 1
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data, position + 8)
        elif kind == b"eXIf":
            orientation = _tiff_orientation(data[position + 8 : position + 8 + length])
        elif kind == b"IDAT":
            break
        position += 12 + length
    return None if size is None else (size[0], size[1], orientation)


def _tiff_orientation(block: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turn_upright(picture: np.ndarray, orientation: int) -> np.ndarray:
    """A stored picture (H, W, ...) as a viewer shows it: (H, W, ...), or (W, H, ...) for orientations 5 to 8."""
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
