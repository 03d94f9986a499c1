"""What a run writes down: ``metrics.jsonl``, TensorBoard's files, and on request a trace of its steps."""

import json
import logging
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autopose.config import Config
from autopose.files import replace_file
from autopose.runs.runtime import Runtime
from autopose.runs.trackers import Tracker

logger = logging.getLogger("autopose")


class MetricsLog:
    """One JSON object an epoch in ``metrics.jsonl``, and the same numbers in ``tb/``.

    Only values that a resumed run reproduces belong in here; times go to the log. The file is replaced whole: a full
    disk leaves the last good one, and rows that found no room are written with the next.

    Args:
        folder: of the run.
        tracker: makes what else gets the rows, when the run begins.
    """

    def __init__(self, folder: Path, tracker: Callable[[], Tracker] | None = None):
        self.path, self._make_tracker = folder / "metrics.jsonl", tracker
        self.tracker: Tracker | None = None
        self.rows: list[dict] = []
        self.is_open = False
        self._board = None

    def open(self, rows: Sequence[dict] = ()) -> None:
        """Begin to write.

        Args:
            rows: of the epochs that a resumed run has behind it, as its checkpoint remembers them; whatever the file
                held beyond them (a half-written line, rows of epochs that are to be repeated) goes.
        """
        from torch.utils.tensorboard import SummaryWriter

        self.rows, self.is_open = list(rows), True
        self._write()
        if self._make_tracker is not None:
            self.tracker = self._make_tracker()
        with self._tolerating("TensorBoard's file"):
            _quieten_writers()
            self._board = SummaryWriter(str(self.path.parent / "tb"), purge_step=len(self.rows) or None)

    def write(self, row: dict) -> None:
        """Append a row; it must have "epoch"."""
        self.rows.append(row)
        self._write()
        with self._tolerating("TensorBoard's file"):
            self.scalars(row, row["epoch"])
        if self.tracker is not None:
            self.tracker.log(row, row["epoch"])

    def picture(self, name: str, picture: np.ndarray | None, step: int) -> None:
        """A picture (H, W, 3) uint8 RGB for TensorBoard."""
        if picture is not None and self._board is not None:
            with self._tolerating("TensorBoard's file"):
                self._board.add_image(name, picture, step, dataformats="HWC")

    def _write(self) -> None:
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        with self._tolerating(str(self.path)):
            replace_file(self.path, lambda file: file.write(text.encode()))

    @contextmanager
    def _tolerating(self, what: str) -> Iterator[None]:
        """A disk that is full stops no run: it is said, and what was to be written follows with the next epoch."""
        try:
            yield
        except OSError as error:
            logger.warning("%s was not written (%s); the run goes on", what, error.strerror or error)

    def scalars(self, values: dict, step: int) -> None:
        """Numbers, also in nested dicts, as TensorBoard scalars."""
        for name, value in values.items():
            if isinstance(value, dict):
                self.scalars({f"{name}/{k}": v for k, v in value.items()}, step)
            elif isinstance(value, int | float) and name != "epoch" and self._board is not None:
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's file, and end the tracker's run."""
        if self.tracker is not None:
            self.tracker.close()
        if self._board is not None:
            with self._tolerating("TensorBoard's file"):
                self._board.close()


def _quieten_writers() -> None:
    """TensorBoard's threads keep what the system refused for the next call, which tells it: no traceback as well."""
    if getattr(threading.excepthook, "writers_are_quiet", False):
        return
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        writer = type(failed.thread).__module__.startswith("tensorboard.")
        if not (writer and isinstance(failed.exc_value, OSError)):
            before(failed)

    hook.writers_are_quiet = True  # type: ignore[attr-defined]
    threading.excepthook = hook


def rehearse_picture(picture: np.ndarray | None) -> None:
    """Encode a picture (H, W, 3) uint8 as TensorBoard does before it writes it, for the memory that this takes."""
    if picture is not None:
        from torch.utils.tensorboard import summary

        summary.image("rehearsal", picture, dataformats="HWC")


class Losses:
    """Losses of an epoch's steps, by name; new ones stay on their device until they are read.

    Args:
        values: those of a checkpoint.
    """

    def __init__(self, values: Mapping[str, Sequence[float]] | None = None):
        self._values = {name: list(found) for name, found in (values or {}).items()}
        self._unread: dict[str, list[Tensor]] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Those of one step, each a tensor ()."""
        for name, loss in losses.items():
            self._unread.setdefault(name, []).append(loss)

    def read(self) -> dict[str, list[float]]:
        """All of them in order; waits for the device where some are new."""
        for name, losses in self._unread.items():
            self._values.setdefault(name, []).extend(torch.stack(losses).tolist())
        self._unread = {}
        return self._values


class StepTrace:
    """``steps.log``: a line a step with checksums of the batch and the loss, to find where two runs part.

    Args:
        folder: of the run.
        wanted: nothing is written otherwise.
    """

    def __init__(self, folder: Path, wanted: bool):
        self.path = folder / "steps.log" if wanted else None
        self._begun = False

    def write(self, step: int, batches: Sequence[Mapping[str, Tensor]], losses: Mapping[str, Tensor]) -> None:
        """Append the line of a step, after a first line with the machine; OSError where the disk is full."""
        if self.path is None:
            return
        sums = [zlib.crc32(batch[name].cpu().contiguous().numpy()) for batch in batches for name in ("image", "target")]
        values = {name: loss.item() for name, loss in losses.items()}
        line = f"{step} {' '.join(f'{value:08x}' for value in sums)} {values!r}\n"
        if not self._begun:
            capability = torch.backends.cpu.get_cpu_capability()
            line = f"# {capability}, {torch.get_num_threads()} thread(s), PyTorch {torch.__version__}\n{line}"
        self._begun = True
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(line)


def open_log(config: Config, runtime: Runtime) -> MetricsLog:
    """The log of a run, with the tracker that ``tracker=`` asks for."""
    if config.tracker == "none" or not runtime.is_main:
        return MetricsLog(runtime.folder)
    return MetricsLog(runtime.folder, lambda: Tracker(config.tracker, config.name, runtime.folder, config.to_dict()))
