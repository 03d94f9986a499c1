"""Checkpoints: written atomically, verified before use, loaded with ``weights_only=True``."""

import io
import logging
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

from autopose.errors import UserError
from autopose.files import replace_file

logger = logging.getLogger("autopose")
FORMAT = "autopose-checkpoint"
VERSION = 1
KINDS = ("search", "train")
# What zipfile, pickle and torch raise on bytes that are no checkpoint.
DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, pickle.UnpicklingError, RuntimeError, EOFError,
    LookupError, ValueError, AttributeError, TypeError, AssertionError, ImportError, ArithmeticError, MemoryError,
)  # fmt: skip


class DamagedCheckpoint(UserError):
    """A file that is torn or corrupt; an older one may be used instead."""


def write_checkpoint(path: Path, content: dict) -> None:
    """Write ``content`` to ``path`` atomically; OSError leaves an older file untouched."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(path, lambda file: file.write(buffer.getbuffer()))


def read_checkpoint(path: str | Path, kind: str | None = None) -> dict:
    """Load and verify a checkpoint onto the CPU; no code in the file can run.

    Raises:
        DamagedCheckpoint: truncated or corrupt (every record's checksum is verified).
        UserError: missing, of another format, version or kind.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedCheckpoint(f"the checkpoint {path} is corrupt: record {damaged} fails its checksum")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    except OSError as error:
        raise DamagedCheckpoint(f"cannot read the checkpoint {path}: {error.strerror or error}") from None
    except DamagedCheckpoint:
        raise
    except DAMAGE as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise DamagedCheckpoint(
            f"the checkpoint {path} is damaged or no checkpoint: {reason or type(error).__name__}"
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is no checkpoint of this software")
    if content.get("version") != VERSION:
        raise UserError(f"{path} has checkpoint version {content.get('version')!r}, this software reads {VERSION}")
    if content.get("kind") not in KINDS or not isinstance(content.get("config"), dict):
        raise UserError(f"{path} lacks its kind or configuration")
    if kind is not None and content["kind"] != kind:
        raise UserError(f"{path} was written by {content['kind']}, a checkpoint of {kind} is needed")
    return content


class CheckpointStore:
    """``checkpoints/`` of a run: ``step_*.pt`` (the last ``keep``), ``last.pt`` and ``best.pt``."""

    def __init__(self, folder: Path, kind: str, config: dict, keep: int, world_size: int = 1):
        self.folder, self.keep = folder / "checkpoints", keep
        self.header = {
            "format": FORMAT, "version": VERSION, "kind": kind, "config": config, "world_size": world_size,
        }  # fmt: skip
        self.failures = 0

    def save(self, step: int, state: dict, architecture: dict | None = None, best: bool = False) -> bool:
        """Write ``step_STEP.pt``; a full disk is logged, and the run goes on with the last good file."""
        content = {**self.header, "step": step, "architecture": architecture, "state": state}
        path = self.folder / f"step_{step:012d}.pt"
        try:
            write_checkpoint(path, content)
            self._link(path, "last.pt")
            if best:
                self._link(path, "best.pt")
        except OSError as error:
            self.failures += 1
            logger.warning(
                "checkpoint at step %d was not written (%s); the run goes on, the last good one stays",
                step, error.strerror or error,
            )  # fmt: skip
            return False
        # Files that claim a later step are damaged ones, which the resume passed over.
        files = self._files()
        for old in {*files[files.index(path) + self.keep :], *files[: files.index(path)]}:
            old.unlink(missing_ok=True)
        return True

    def refuse_existing(self) -> None:
        """UserError where a run that is not resumed would mix its files with an earlier run's."""
        if self._files():
            raise UserError(
                f"{self.folder} holds checkpoints of an earlier run: resume=auto continues it, or give another "
                "hydra.run.dir"
            )

    def _link(self, path: Path, name: str) -> None:
        """Let ``name`` stand for ``path``: a hard link where the file system has them, else a copy."""
        partial = self.folder / f"{name}.partial"
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:
            partial.write_bytes(path.read_bytes())
        os.replace(partial, self.folder / name)

    def _files(self) -> list[Path]:
        """Step files, newest first."""
        return sorted(self.folder.glob("step_*.pt"), reverse=True)

    def newest(self) -> dict | None:
        """The newest valid checkpoint, None where there is none; torn or corrupt files are passed over, and said so.

        UserError for one of another kind or version: it is no remainder of a crash.
        """
        for path in [*self._files(), self.folder / "last.pt"]:
            if not path.exists():
                continue
            try:
                content = read_checkpoint(path, self.header["kind"])
            except DamagedCheckpoint as error:
                logger.warning("passed over: %s", error)
                continue
            logger.info("resuming from %s", path)
            return content
        logger.info("nothing to resume in %s: starting afresh", self.folder)
        return None

    def resume(self, may_change: tuple[str, ...]) -> dict | None:
        """The content to continue from, None to start afresh; every process finds the same.

        UserError where configuration (beyond ``may_change``), version, kind or number of processes differ.
        """
        content = self.newest()
        if dist.is_initialized() and dist.get_world_size() > 1:
            steps: list = [None] * dist.get_world_size()
            dist.all_gather_object(steps, None if content is None else content.get("step"))
            if len(set(steps)) > 1:
                raise UserError(
                    f"the processes found different checkpoints in {self.folder}: put hydra.run.dir on a file system "
                    "that all of them share"
                )
        if content is not None:
            check_resumable(content, self.header["config"], self.header["world_size"], may_change)
        return content


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Turn errors of restoring a checkpoint's state into a UserError: another network wrote it, or it was edited."""
    try:
        yield
    except UserError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise UserError(f"the state in {what} does not fit this run: {reason or type(error).__name__}") from None


def check_resumable(content: dict, config: dict, world_size: int, may_change: tuple[str, ...]) -> None:
    """UserError that names the keys by which a checkpoint's configuration differs beyond ``may_change``."""
    changed = [
        key
        for key, old, new in _differences(content["config"], config)
        if not any(key == free or key.startswith(free + ".") for free in may_change)
    ]
    if changed:
        raise UserError(
            f"this run cannot be resumed with other values of {', '.join(changed[:6])}: give the values it was started "
            "with, or start a new run in another hydra.run.dir"
        )
    if content.get("world_size") != world_size:
        raise UserError(
            f"this run was started with {content.get('world_size')} process(es) and cannot be resumed "
            f"with {world_size}: batch statistics would differ; start as many, or a new run"
        )


def _differences(old: dict, new: dict, prefix: str = ""):
    for key in sorted(set(old) | set(new)):
        a, b, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{name}.")
        elif _plain(a) != _plain(b):
            yield name, a, b


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
