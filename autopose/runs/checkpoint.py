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

from autopose.config import Config, without_retired
from autopose.errors import UserError
from autopose.files import replace_file
from autopose.runs.precision import FP32, Precision

logger = logging.getLogger("autopose")
FORMAT = "autopose-checkpoint"
VERSION = 1
KINDS = ("search", "train")
EXPORTED = (".onnx", ".pt2")
# What zipfile, pickle and torch raise on bytes that are no checkpoint.
DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, pickle.UnpicklingError, RuntimeError, EOFError,
    LookupError, ValueError, AttributeError, TypeError, AssertionError, ImportError, ArithmeticError, OSError,
)  # fmt: skip


class DamagedCheckpoint(UserError):
    """A file whose bytes are torn or corrupt; an older one may be used instead."""


def write_checkpoint(path: Path, content: dict) -> None:
    """Write ``content`` to ``path`` atomically; OSError leaves an older file untouched."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(path, lambda file: file.write(buffer.getbuffer()))


def read_checkpoint(path: str | Path, kind: str | None = None) -> dict:
    """Load and verify a checkpoint onto the CPU; no code in the file can run.

    Raises:
        DamagedCheckpoint: truncated or corrupt (every record's checksum is verified).
        UserError: missing, not to be read at the moment, of another format, version or kind.
    """
    path = Path(path)
    data = _whole(path)
    try:
        with zipfile.ZipFile(data) as archive:
            # torch.save stores its records as they are; compressed ones may be a few bytes that become gigabytes.
            if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
                raise DamagedCheckpoint(f"{path} is no checkpoint: its records are compressed")
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedCheckpoint(f"the checkpoint {path} is corrupt: record {damaged} fails its checksum")
        data.seek(0)
        content = torch.load(data, map_location="cpu", weights_only=True)
    except DamagedCheckpoint:
        raise
    except MemoryError:
        raise UserError(f"cannot read the checkpoint {path}: there is not enough memory") from None
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


def _whole(path: Path) -> io.BytesIO:
    """A checkpoint's bytes; UserError where there is none or it cannot be read."""
    if path.suffix in EXPORTED:
        raise UserError(
            f"{path} is an exported file, which runs without this software: expected a checkpoint, as "
            "checkpoints/best.pt of a training"
        )
    try:
        if not path.is_file() and path.exists():
            last = next((p for p in (path / "checkpoints" / "last.pt", path / "last.pt") if p.is_file()), None)
            hint = f"a folder, give {last}" if last else "no file"
            raise UserError(f"cannot read the checkpoint {path}: it is {hint}")
        return io.BytesIO(path.read_bytes())
    except (OSError, MemoryError) as error:
        # Read whole before it is judged: what the system refuses now says nothing of the bytes.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(f"cannot read the checkpoint {path}: {reason}") from None


class CheckpointStore:
    """``checkpoints/`` of a run: ``step_*.pt`` (the last ``keep``), ``last.pt`` and ``best.pt``."""

    def __init__(
        self, folder: Path, kind: str, config: dict, keep: int, world_size: int = 1, data: dict[str, str] | None = None,
        precision: Precision = FP32,
    ):  # fmt: skip
        """
        Args:
            folder: of the run.
            kind: "search" or "train".
            config: ``Config.to_dict()``.
            keep: how many step files stay.
            data: digests of the annotations and pictures by split; a resume with others is refused.
            precision: of the run; a resume in another one is refused unless it is asked for by name.
        """
        self.folder, self.keep = folder / "checkpoints", keep
        self.header = {
            "format": FORMAT, "version": VERSION, "kind": kind, "config": config, "world_size": world_size,
            "data": data or {}, "machine": _machine(), "precision": precision.name,
        }  # fmt: skip
        self.precision = precision
        self.failures = 0
        self.saved = ""
        self.problem = ""

    def save(self, order: int, state: dict, where: str, architecture: dict | None = None, best: bool = False) -> bool:
        """Write ``step_ORDER.pt``; a full disk is logged, and the run goes on with the last good file.

        Args:
            order: rises with every state that is saved.
            where: that state in words, for messages ("epoch 3, iteration 12").
            best: let ``best.pt`` stand for it as well.

        Returns:
            Whether it was written. Where it was not, older files than the last good one are given up and it is tried
            once more.
        """
        content = {**self.header, "step": order, "where": where, "architecture": architecture, "state": state}
        path = self.folder / f"step_{order:012d}.pt"
        for attempt in range(2):
            try:
                write_checkpoint(path, content)
                self._link(path, "last.pt")
                if best:
                    self._link(path, "best.pt")
                break
            except OSError as error:
                self.problem = error.strerror or str(error)
                if attempt == 0 and self._free():
                    continue
                self.failures += 1
                logger.warning(
                    "checkpoint of %s was not written (%s); the run goes on, the last good one stays", where,
                    self.problem,
                )  # fmt: skip
                return False
        self.saved, self.problem = where, ""
        for old in self._files()[self.keep :]:
            if old != path:
                old.unlink(missing_ok=True)
        return True

    def _free(self) -> bool:
        """Give up the step files behind the newest; whether there were any."""
        older = self._files()[1:]
        for path in older:
            path.unlink(missing_ok=True)
        return bool(older)

    def status(self) -> str:
        """What is on disk, for the last line of a run that stops."""
        again = "resume=auto with the same hydra.run.dir continues"
        if not self.problem:
            return f"the state is saved; {again}" if self.saved else "there was no state to save yet"
        if not self.saved:
            return f"the state could not be saved ({self.problem}), and no checkpoint was written before"
        return f"the state could not be saved ({self.problem}); last.pt holds {self.saved}, from where {again}"

    def require_saved(self) -> None:
        """UserError where the last state could not be written."""
        if self.problem:
            holds = f"last.pt holds {self.saved}" if self.saved else "no checkpoint was written"
            raise UserError(
                f"the final checkpoint was not written ({self.problem}): {holds}; make room and continue with "
                "resume=auto and the same hydra.run.dir"
            )

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

    def newest(self) -> tuple[dict | None, list[Path]]:
        """The newest valid checkpoint, None where there is no file, and the torn or corrupt files before it.

        UserError for one that cannot be read at the moment, or of another kind or version, which is no remainder of a
        crash; and where there are files, but only damaged ones.
        """
        damaged = []
        paths = [path for path in (*self._files(), self.folder / "last.pt") if path.exists()]
        for path in paths:
            try:
                content = read_checkpoint(path, self.header["kind"])
            except DamagedCheckpoint as error:
                logger.warning("passed over: %s", error)
                damaged.append(path)
                continue
            logger.info("resuming from %s", path)
            return content, damaged
        if paths:
            raise UserError(
                f"{self.folder} holds {len(paths)} checkpoint(s), and none of them can be used: get a good copy, or "
                "start afresh in another hydra.run.dir"
            )
        logger.info("nothing to resume in %s: starting afresh", self.folder)
        return None, []

    def resume(self, may_change: tuple[str, ...]) -> dict | None:
        """The content to continue from, None to start afresh; every process finds the same.

        Damaged files are set aside as ``*.damaged``, so that none of them is taken for a later state.

        UserError where configuration (beyond ``may_change``), data, version, kind or number of processes differ.
        """
        content, damaged = self.newest()
        if dist.is_initialized() and dist.get_world_size() > 1:
            steps: list = [None] * dist.get_world_size()
            dist.all_gather_object(steps, None if content is None else content.get("step"))
            if len(set(steps)) > 1:
                raise UserError(
                    f"the processes found different checkpoints in {self.folder}: put hydra.run.dir on a file system "
                    "that all of them share"
                )
        if content is None:
            return None
        check_resumable(content, self.header, may_change)
        self._check_precision(content)
        self.saved = str(content.get("where", "an earlier state"))
        if not dist.is_initialized() or dist.get_rank() == 0:
            for path in damaged:
                os.replace(path, path.with_name(path.name + ".damaged"))
        return content

    def _check_precision(self, content: dict) -> None:
        before, now = content.get("precision", "fp32"), self.precision
        if before == now.name:
            return
        if not now.explicit:
            raise UserError(
                f"this run was started in {before}, and precision=auto is {now} here: precision={before} goes on as it "
                f"began, precision={now.name} in the other one"
            )
        logger.warning("caution    precision: %s now, %s when the run was started", now.name, before)


def _machine() -> dict[str, str | int]:
    """What the last bits of a result depend on besides the configuration."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"PyTorch": str(torch.__version__), "threads": torch.get_num_threads(), "CPU instructions": capability}


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


def check_resumable(content: dict, header: dict, may_change: tuple[str, ...]) -> None:
    """UserError that names the keys by which a checkpoint differs from this run's header beyond ``may_change``.

    Another version of PyTorch, number of threads or set of instructions is warned of: the run goes on, but its last
    bits may differ from those of an undisturbed one.
    """
    changed = [
        key
        for key, old, new in _differences(_completed(content["config"]), _completed(header["config"]))
        if not any(key == free or key.startswith(free + ".") for free in may_change)
    ]
    if changed:
        raise UserError(
            f"this run cannot be resumed with other values of {', '.join(changed[:6])}: give the values it was started "
            "with, or start a new run in another hydra.run.dir"
        )
    world_size = header["world_size"]
    if content.get("world_size") != world_size:
        raise UserError(
            f"this run was started with {content.get('world_size')} process(es) and cannot be resumed "
            f"with {world_size}: batch statistics would differ; start as many, or a new run"
        )
    before = content.get("data") or header["data"]
    for split, digest in header["data"].items():
        if before.get(split) != digest:
            raise UserError(
                f"the {split} split has changed since this run was started (annotations or picture files): restore it, "
                "or start a new run in another hydra.run.dir"
            )
    known = content.get("machine") or header["machine"]
    for name, value in header["machine"].items():
        if known.get(name) != value:
            logger.warning(
                "caution    %s: %s now, %s when the run was started; the last bits may differ", name, value,
                known.get(name),
            )  # fmt: skip


def _completed(config: dict) -> dict:
    """A checkpoint's configuration with the keys that were added since it was written, as that software behaved."""
    known = Config().to_dict()
    # Sets were drawn with the run's seed before they had one of their own.
    known["data"]["seed"] = config.get("seed", 0)
    return _filled(without_retired(config), known)


def _filled(config: dict, defaults: dict) -> dict:
    found = {key: value for key, value in defaults.items() if key not in config}
    for key, value in config.items():
        default = defaults.get(key)
        found[key] = _filled(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
    return found


def _differences(old: dict, new: dict, prefix: str = ""):
    for key in sorted(set(old) | set(new)):
        a, b, name = old.get(key), new.get(key), f"{prefix}{key}"
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{name}.")
        elif _plain(a) != _plain(b):
            yield name, a, b


def _plain(value):
    return list(value) if isinstance(value, tuple) else value
