"""A crop cache on disk: what it holds, whether it is whole, and how it is read.

A folder with regions.bin (int64, R x 9: shard, offset, x0, y0, x1, y1, the picture's width and height, CRC-32 of the
bytes), people.bin (int64, P: every person's region), shards of raw uint8 RGB pixels, row by row, and manifest.json,
which is written last and names everything with its size and checksum.
"""

import json
import zlib
from pathlib import Path

import numpy as np

from autopose.data.crop_cache.regions import Margin
from autopose.data.records import Person, PoseAnnotations
from autopose.errors import UserError
from autopose.files import save

VERSION = 1
MANIFEST, REGIONS, PEOPLE = "manifest.json", "regions.bin", "people.bin"
COLUMNS = 9


class CacheDamaged(UserError):
    """A crop cache that is not as it was written."""

    def __init__(self, folder: Path, what: str):
        self.folder, self.what = folder, what
        super().__init__(
            f"the crop cache {folder} is damaged ({what}): delete the folder, and the next run makes it anew, or give "
            "data.cache=false"
        )

    def __reduce__(self):
        # As it comes from a worker: not by the sentence, which is what exceptions are rebuilt from.
        return CacheDamaged, (self.folder, self.what)


def fingerprint(annotations: PoseAnnotations) -> str:
    """What a cache's pixels depend on besides its margin: people, pictures, and how these are read."""
    read = [(key, image.turned, image.rescaled) for key, image in sorted(annotations.images.items())]
    turned = [row for row in read if row[1] or row[2]]
    return f"{annotations.digest()}-{zlib.crc32(repr(turned).encode()):08x}"


def write_manifest(folder: Path, content: dict) -> None:
    """Seal a cache."""
    body = json.dumps({"version": VERSION, **content}, sort_keys=True)
    save(folder / MANIFEST, json.dumps({"checksum": zlib.crc32(body.encode()), "content": body}))


def read_manifest(folder: Path) -> dict | None:
    """The manifest's content, None where there is no cache, or one of other software.

    Raises:
        CacheDamaged: it is not what was written.
    """
    try:
        outer = json.loads((folder / MANIFEST).read_bytes())
        body = outer["content"]
        if zlib.crc32(body.encode()) != outer["checksum"]:
            raise ValueError
        content = json.loads(body)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CacheDamaged(folder, f"{MANIFEST} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CacheDamaged(folder, f"{MANIFEST} is not what was written") from None
    return content if content["version"] == VERSION else None


class CropCache:
    """Pictures of people from a crop cache, each of which holds the person's region and nothing that is defined beside.

    Shards are mapped into memory, so that processes share what the system keeps of them. The checksum of a region is
    looked at when a process reads it for the first time.
    """

    def __init__(self, folder: Path, annotations: PoseAnnotations):
        """
        Args:
            folder: of a cache that was made of the annotations.
            annotations: all of the split; subsets may be asked for.

        Raises:
            CacheDamaged: files are missing, or of another size or content than written.
        """
        self.folder = folder
        manifest = read_manifest(folder)
        if manifest is None:
            raise CacheDamaged(folder, f"it has no {MANIFEST}")
        self.margin = Margin(**manifest["margin"])
        for name, size in manifest["files"].items():
            self._check_size(name, size)
        self._regions = self._table(REGIONS, manifest).reshape(-1, COLUMNS)
        rows = self._table(PEOPLE, manifest)
        keys = [(person.image_id, person.annotation_id) for person in annotations.persons]
        if len(keys) != len(rows):
            raise CacheDamaged(folder, f"it holds {len(rows)} people, and the annotations {len(keys)}")
        self._rows = dict(zip(keys, rows.tolist(), strict=True))
        self._names = manifest["shards"]
        self._forget()

    def _forget(self) -> None:
        self._shards: dict[int, np.ndarray] = {}
        self._checked = np.zeros(len(self._regions), bool)

    def __getstate__(self) -> dict:
        # A mapped file would be copied into a worker that is not forked.
        return {name: value for name, value in vars(self).items() if name not in ("_shards", "_checked")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget()

    def _check_size(self, name: str, size: int) -> None:
        path = self.folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            raise CacheDamaged(
                self.folder, f"{name} {'is missing' if found is None else f'has {found} bytes of {size}'}"
            )

    def _table(self, name: str, manifest: dict) -> np.ndarray:
        data = (self.folder / name).read_bytes()
        if zlib.crc32(data) != manifest["tables"][name]:
            raise CacheDamaged(self.folder, f"{name} is not what was written")
        return np.frombuffer(data, np.int64)

    def picture(self, person: Person) -> np.ndarray:
        """A picture (H, W, 3) uint8 RGB in which the person's region holds its pixels; the others hold anything.

        Raises:
            CacheDamaged: bytes are not those that were written, or cannot be read.
        """
        pixels, (x0, y0), width = self.region(person)
        height = int(self._regions[self._rows[person.image_id, person.annotation_id], 7])
        if pixels.shape[:2] == (height, width):
            return pixels
        picture = np.empty((height, width, 3), np.uint8)
        picture[y0 : y0 + pixels.shape[0], x0 : x0 + pixels.shape[1]] = pixels
        return picture

    def region(self, person: Person) -> tuple[np.ndarray, tuple[int, int], int]:
        """The person's region (h, w, 3) uint8 as it lies in the file, its corner x, y, and the picture's width.

        Raises:
            CacheDamaged: see ``picture``.
        """
        row = self._rows[person.image_id, person.annotation_id]
        x0, y0, x1, y1, width = self._regions[row, 2:7].tolist()
        return self._pixels(row).reshape(y1 - y0, x1 - x0, 3), (x0, y0), width

    def _pixels(self, row: int) -> np.ndarray:
        shard, offset, x0, y0, x1, y1 = self._regions[row, :6].tolist()
        if x1 == x0 or y1 == y0:
            return np.empty(0, np.uint8)
        if shard not in self._shards:
            try:
                self._shards[shard] = np.memmap(self.folder / self._names[shard], np.uint8, "r")
            except OSError as error:
                raise CacheDamaged(self.folder, f"{self._names[shard]}: {error.strerror or error}") from None
        pixels = self._shards[shard][offset : offset + 3 * (x1 - x0) * (y1 - y0)]
        if not self._checked[row]:
            if zlib.crc32(pixels) != int(self._regions[row, 8]):
                raise CacheDamaged(self.folder, f"bytes of {self._names[shard]} from {offset} on are not those written")
            self._checked[row] = True
        return pixels

    def verify(self) -> None:
        """Look at every byte; CacheDamaged where one is not as written."""
        for row in range(len(self._regions)):
            self._pixels(row)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """Bytes of pixels."""
        return int(3 * np.prod(self._regions[:, 4:6] - self._regions[:, 2:4], axis=1).sum())
