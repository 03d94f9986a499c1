"""Refusals of unusable files before any time is spent on them: annotation JSON and image files.

Every function here raises `UserError` with one sentence, whatever stands in the file.
"""

import errno
import json
import os
import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unicodedata import category

import cv2
import numpy as np

from autopose.data.headers import is_whole_jpeg, is_whole_png, picture_header, turn_upright
from autopose.errors import UserError
from autopose.progress import progress

# Coordinates and sizes beyond this are no pixels of any image; squares of them still fit a float64 and an int64.
_LARGEST = 1e7
# The largest cameras take 1.5e8; a few bytes of a compressed file can claim any size.
MAX_PIXELS = 200_000_000
# Control characters and halves of surrogate pairs, which no file system can be asked for.
_NO_CHARACTERS = ("Cc", "Cs")


def read_json(path: str | Path, what: str) -> object:
    """Contents of a JSON file.

    Args:
        path: the file.
        what: what the file is, for the message ("annotation file").

    Raises:
        UserError: missing, unreadable, truncated or not JSON.
    """
    try:
        text = decoded_text(file_bytes(path))
    except FileNotFoundError:
        raise UserError(f"the {what} '{path}' does not exist") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the {what} '{path}' cannot be read: {error}") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the {what} '{path}' is not JSON or is cut off ({str(error)[:100]}): get it again") from None


def decoded_text(data: bytes) -> str:
    """UTF-8 text, or UTF-16 with a byte-order mark, as tools of Windows write it; ValueError for another."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if marked else "utf-8-sig")


def records(document: object, key: str, path: str | Path) -> list[dict]:
    """The list of objects under `key` of a COCO document; UserError where it is anything else."""
    rows = document.get(key) if isinstance(document, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{path}' is not COCO keypoint JSON: expected a list of objects under '{key}'")
    return rows


def integer(record: dict, key: str, where: str) -> int:
    """An integer field; UserError where it is missing or anything else (true and 1.0 are no ids)."""
    value = record.get(key)
    if type(value) is not int or abs(value) >= 2**62:
        raise UserError(f"{where}: expected an integer '{key}', got {value!r:.50}")
    return value


def numbers(record: dict, key: str, count: int, where: str) -> np.ndarray:
    """A field of `count` finite numbers as (count,) float64; UserError where it is anything else."""
    values = record.get(key)
    if not isinstance(values, list) or len(values) != count:
        came = f"{len(values)} values" if isinstance(values, list) else f"{values!r:.50}"
        raise UserError(f"{where}: expected '{key}' as a list of {count} numbers, got {came}")
    if not all(type(v) in (int, float) and -_LARGEST < v < _LARGEST for v in values):
        raise UserError(f"{where}: '{key}' holds something that is no finite number of pixels: {values!r:.100}")
    return np.array(values, dtype=np.float64)


def number(record: dict, key: str, where: str, least: float = 0.0) -> float:
    """A finite number >= `least`; UserError where it is missing or anything else."""
    value = record.get(key)
    if type(value) not in (int, float) or not least <= value < _LARGEST**2:
        raise UserError(f"{where}: expected '{key}' as a finite number of at least {least:g}, got {value!r:.50}")
    return float(value)


def text(record: dict, key: str, where: str) -> str:
    """A non-empty string that can be a file name, any character but control characters; UserError for anything else."""
    value = record.get(key)
    if not isinstance(value, str) or not value or any(category(c) in _NO_CHARACTERS for c in value):
        raise UserError(f"{where}: expected '{key}' as a file name, got {value!r:.50}")
    return value


def inside(folder: Path, name: str, where: str) -> str:
    """Path of a file of a set; UserError where ``name`` leads out of the images' folder."""
    path = os.path.normpath(folder / name)
    if os.path.commonpath([os.path.abspath(path), os.path.abspath(folder)]) != os.path.abspath(folder):
        raise UserError(f"{where}: the file name {name!r:.80} leads out of the images' folder '{folder}'")
    return path


def file_bytes(path: str | Path) -> bytes:
    """Content of a regular file.

    Raises:
        OSError: missing, unreadable, or a pipe or device, which could be read without end.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    return Path(path).read_bytes()


def read_image(path: str | Path, upright: bool = True) -> np.ndarray:
    """Decode an image.

    Args:
        path: of the file.
        upright: turn it as its EXIF orientation says, as viewers show it; else as stored.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        UserError: missing, truncated or not decodable.
    """
    try:
        data = file_bytes(path)
    except OSError as error:
        raise UserError(f"the image '{path}' cannot be read: {error.strerror or error}") from None
    header = picture_header(data)
    problem = _problem_before_decoding(data, header)
    image = None if problem else _decoded(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UserError(f"the image '{path}' cannot be used: {problem or _not_decodable(data)}")
    picture = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return picture if header is None or not upright else turn_upright(picture, header[2])


def _decoded(data: bytes, flags: int) -> np.ndarray | None:
    """The picture, or None where OpenCV finds none; it raises only for a header that claims an absurd size."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None


def _problem_before_decoding(data: bytes, header: tuple[int, int, int] | None) -> str | None:
    """What a file's structure tells.

    Decoders fill the missing rest of a truncated file with grey and report nothing, hence the look for the end's
    marker. Anything may follow it: padding, or the film of a motion photograph.
    """
    if not data:
        return "empty"
    if data.startswith(b"\xff\xd8") and not is_whole_jpeg(data):
        return "truncated JPEG"
    if data.startswith(b"\x89PNG") and not is_whole_png(data):
        return "truncated PNG"
    if header is not None and header[0] * header[1] > MAX_PIXELS:
        return f"{header[0]}x{header[1]} px, more than {MAX_PIXELS:.0e} pixels"
    return None


def _not_decodable(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "a HEIC or AVIF picture, or a video, that this OpenCV does not read: save it as JPEG or PNG"
    return "not decodable"


def image_problem(path: str | Path) -> str | None:
    """What is wrong with an image file, or None: it must decode and, if JPEG or PNG, carry its end marker."""
    try:
        data = file_bytes(path)
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror}"
    problem = _problem_before_decoding(data, picture_header(data))
    if problem:
        return problem
    # A reduced picture reads every coded byte as well and costs half the time.
    return None if _decoded(data, cv2.IMREAD_REDUCED_GRAYSCALE_8) is not None else _not_decodable(data)


def check_images(paths: Iterable[str | Path], workers: int | None = None, shown: int = 3) -> int:
    """Decode every image once, in parallel, so that a bad one stops the run at its start.

    Args:
        paths: image files; repeated ones are read once.
        workers: threads; default: one for each core.
        shown: how many bad files the message names.

    Returns:
        The number of files checked.

    Raises:
        UserError: some are missing or corrupt.
    """
    unique = list(dict.fromkeys(str(path) for path in paths))
    pool = ThreadPoolExecutor(max_workers=workers or os.cpu_count())
    try:
        problems = list(progress(pool.map(image_problem, unique), "checking pictures", len(unique)))
    finally:
        # A signal raises in here: what is still waiting to be checked must not be waited for.
        pool.shutdown(cancel_futures=True)
    bad = [f"'{path}' ({problem})" for path, problem in zip(unique, problems, strict=True) if problem]
    if bad:
        more = f" and {len(bad) - shown} more" if len(bad) > shown else ""
        raise UserError(f"{len(bad)} of {len(unique)} images cannot be used: {', '.join(bad[:shown])}{more}")
    return len(unique)
