"""Pictures and videos one after another, whatever they come from; what cannot be read is told and left out."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from autopose.data.checks import read_image
from autopose.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".avif", ".heic", ".heif")
VIDEOS = (
    ".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".mts", ".m2ts", ".3gp", ".gif",
)  # fmt: skip
# Frames that a video's header may promise too many: decoders drop a few at cuts.
_MISSING = 2
# What is wrong with a video is told in a sentence; FFmpeg would print lines of its own. OpenCV reads it once, at the
# first video, and a user's own value stands.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Frame:
    """A picture, or a frame of a video.

    Attributes:
        name: the file, relative to the folder that was given; "camera0".
        number: of the frame in its video, None for a picture.
        image: (H, W, 3) uint8 RGB, upright.
        rate: frames a second of the video, 0 for a picture.
    """

    name: str
    number: int | None
    image: np.ndarray
    rate: float = 0.0


@dataclass
class Source:
    """What ``source=`` names, opened.

    Attributes:
        files: (name, path) of every picture and video, in the order of names.
        camera: its index, None for files.
        problems: sentences about what was left out, filled while frames are read.
    """

    files: list[tuple[str, Path]]
    camera: int | None = None
    problems: list[str] = field(default_factory=list)

    def frames(self, most: int = 0) -> Iterator[Frame]:
        """All frames; of a video or camera at most ``most``, where given."""
        if self.camera is not None:
            yield from self._video(f"camera{self.camera}", self.camera, most)
        for name, path in self.files:
            if path.suffix.lower() in VIDEOS:
                yield from self._video(name, str(path), most)
                continue
            try:
                yield Frame(name, None, read_image(path))
            except UserError as error:
                self.problems.append(str(error))

    def _video(self, name: str, what: str | int, most: int) -> Iterator[Frame]:
        video = cv2.VideoCapture(what)
        try:
            promised = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if isinstance(what, str) else 0
            rate = video.get(cv2.CAP_PROP_FPS)
            rate = float(rate) if np.isfinite(rate) and 0 < rate <= 1000 else 25.0
            number = 0
            while not most or number < most:
                there, picture = video.read()
                if not there:
                    break
                yield Frame(name, number, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), rate)
                number += 1
        finally:
            video.release()
        if not number:
            self.problems.append(f"the video '{name}' has no frame that can be read: it is empty, damaged or no video")
        elif not most and promised > number + _MISSING:
            self.problems.append(
                f"the video '{name}' says it has {promised} frames, {number} could be read: its end is missing"
            )


def open_source(given: str) -> Source:
    """What is to be looked at.

    Args:
        given: a picture, a video, a folder (with all folders in it), a pattern such as "photos/*.jpg", or a camera's
            index.

    Raises:
        UserError: nothing there, or no camera.
    """
    if given.isdigit() and not Path(given).exists():
        return _camera(int(given))
    path = Path(given).expanduser()
    if path.is_dir():
        found = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in (*PICTURES, *VIDEOS) and p.is_file()]
        files = [(p.relative_to(path).as_posix(), p) for p in found]
    elif path.is_file():
        files = [(path.name, path)]
    else:
        found = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        found = [p for p in found if p.is_file()]
        common = _common_folder(found)
        files = [(p.relative_to(common).as_posix() if common else p.name, p) for p in found]
    if not files:
        raise UserError(
            f"there is no picture or video at {given}: give a file, a folder with {', '.join(PICTURES)} or "
            f"{', '.join(VIDEOS)} files, a pattern, or a camera's index"
        )
    return Source(files)


def _common_folder(paths: list[Path]) -> Path | None:
    """The deepest folder that holds all files."""
    if not paths:
        return None
    common = paths[0].parent
    while not all(path.is_relative_to(common) for path in paths):
        common = common.parent
    return common


def _camera(index: int) -> Source:
    # OpenCV would warn in lines of its own of every way to a camera that it tries.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        video = cv2.VideoCapture(index)
        there = video.isOpened()
        video.release()
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not there:
        raise UserError(f"there is no camera {index}, or another program has it: give another index, or a file")
    return Source([], index)
