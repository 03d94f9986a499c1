"""Making a crop cache: every picture decoded once, its people's regions written one after the other."""

import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autopose.data.crop_cache.regions import Margin, clipped, region, shared
from autopose.data.crop_cache.store import PEOPLE, REGIONS, CropCache, fingerprint, read_manifest, write_manifest
from autopose.data.pictures import read_picture
from autopose.data.records import PoseAnnotations
from autopose.errors import UserError
from autopose.files import save
from autopose.progress import progress

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger("autopose")
SHARD_BYTES = 1 << 30
GIB = 2**30
# By picture: its people's rows and regions.
Plan = dict[int, list[tuple[int, tuple[int, int, int, int]]]]


def crop_cache(folder: Path, annotations: PoseAnnotations, margin: Margin, workers: int = 4) -> CropCache:
    """The crop cache of a split, made where there is none yet and made anew where it is of something else; both said.

    Args:
        folder: of this split's cache; nothing else lies in it.
        annotations: all of the split.
        margin: how far crops will reach.
        workers: threads that decode.

    Raises:
        CacheDamaged: there is one that fits, but not as it was written.
        UserError: a picture cannot be read, or the cache not be written; the disk is then as before.
    """
    if _lacks(folder, annotations, margin):
        with _alone(folder):
            lacks = _lacks(folder, annotations, margin)
            if lacks:
                logger.info("cache      %s: crops are cut and kept, %s", folder, lacks)
                build(folder, annotations, margin, workers)
    cache = CropCache(folder, annotations)
    logger.info("cache      %s: crops of %d people, %.2f GiB", folder, len(annotations.persons), cache.size / GIB)
    return cache


def _lacks(folder: Path, annotations: PoseAnnotations, margin: Margin) -> str | None:
    """Why a cache has to be made, None where the one that is there will do."""
    known = read_manifest(folder)
    if known is None:
        return "which is done once"
    if not Margin(**known["margin"]).covers(margin):
        return f"anew: those there reach to {Margin(**known['margin'])}, not to {margin}"
    same = known["fingerprint"] == fingerprint(annotations)
    return None if same else "anew: annotations or pictures have changed"


def build(folder: Path, annotations: PoseAnnotations, margin: Margin, workers: int = 4) -> None:
    """Write a cache beside ``folder`` and put it in its place; see ``crop_cache``."""
    partial = folder.with_name(folder.name + ".partial")
    plan: Plan = {}
    for row, person in enumerate(annotations.persons):
        plan.setdefault(person.image_id, []).append((row, region(person, margin, annotations)))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _check_room(partial, plan, annotations)
        content = _write(partial, plan, annotations, workers)
        write_manifest(partial, {**content, "margin": asdict(margin), "fingerprint": fingerprint(annotations)})
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except OSError as error:
        raise UserError(
            f"the crop cache cannot be written to {folder} ({error.strerror or error}): nothing of it was kept; make "
            "room, give another data.cache_folder, or data.cache=false"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_room(folder: Path, plan: Plan, annotations: PoseAnnotations) -> None:
    """UserError where the disk has too little room, as far as the pictures' sizes are annotated."""
    needed = 0
    for key, people in plan.items():
        image = annotations.images[key]
        if image.width is not None and image.height is not None:
            regions, _ = shared(clipped(np.array([found for _, found in people]), image.width, image.height))
            needed += 3 * int(np.prod(regions[:, 2:] - regions[:, :2], axis=1).sum())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"the crop cache needs {needed / GIB:.1f} GiB, and {folder.parent} has {free / GIB:.1f} GiB left: make "
            "room, give another data.cache_folder, or data.cache=false"
        )


def _write(folder: Path, plan: Plan, annotations: PoseAnnotations, workers: int) -> dict:
    """Shards and tables; returns what the manifest says of them."""
    row_of, rows, shards = np.zeros(len(annotations.persons), np.int64), [], _Shards(folder)
    try:
        for people, picture in progress(_pictures(plan, annotations, workers), "cutting crops", len(plan)):
            height, width = picture.shape[:2]
            regions, mine = shared(clipped(np.array([found for _, found in people]), width, height))
            row_of[[row for row, _ in people]] = len(rows) + mine
            for x0, y0, x1, y1 in regions.tolist():
                data = picture[y0:y1, x0:x1].tobytes()
                rows.append([*shards.write(data), x0, y0, x1, y1, width, height, zlib.crc32(data)])
    finally:
        shards.close()
    tables = {REGIONS: np.array(rows, np.int64).tobytes(), PEOPLE: row_of.tobytes()}
    for name, data in tables.items():
        save(folder / name, data)
    return {
        "shards": shards.names,
        "files": {name: (folder / name).stat().st_size for name in (*shards.names, *tables)},
        "tables": {name: zlib.crc32(data) for name, data in tables.items()},
    }


def _pictures(plan: Plan, annotations: PoseAnnotations, workers: int) -> Iterator[tuple[list, np.ndarray]]:
    """Every picture's people with the picture, decoded by threads a little ahead."""
    ids, ahead = list(plan), 2 * max(1, workers)
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for start in range(0, len(ids), ahead):
            some = ids[start : start + ahead]
            for key, picture in zip(some, pool.map(read_picture, [annotations.images[k] for k in some]), strict=True):
                yield plan[key], picture


class _Shards:
    """Files of at most SHARD_BYTES that a region is appended to whole."""

    def __init__(self, folder: Path):
        self.folder, self._used = folder, 0
        self.names: list[str] = []
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> tuple[int, int]:
        """Append; returns the shard's number and the offset."""
        if self._file is None or (self._used and self._used + len(data) > SHARD_BYTES):
            self.close()
            self.names.append(f"shard_{len(self.names):03d}.bin")
            self._file, self._used = open(self.folder / self.names[-1], "wb"), 0  # noqa: SIM115
        assert self._file is not None
        self._file.write(data)
        self._used += len(data)
        return len(self.names) - 1, self._used - len(data)

    def close(self) -> None:
        if self._file is not None:
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
                self._file = None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time; the others wait, and find what it has made."""
    if fcntl is None:
        yield
        return
    path = folder.with_name(folder.name + ".lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(
            f"the crop cache cannot be kept in {folder.parent} ({error.strerror or error}): give data.cache_folder"
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            reason = error.strerror or error
            logger.warning("caution    the file system of %s has no locks (%s): start one run at a time", path, reason)
        yield
    finally:
        os.close(handle)
