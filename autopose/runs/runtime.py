"""Processes, devices, signals and the run's folder."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unicodedata import category

import torch
import torch.distributed as dist
from tqdm import tqdm

from autopose.errors import UserError
from autopose.progress import progress
from autopose.runs.earlier import LOG
from autopose.runs.lock import RunLock
from autopose.runs.precision import FP32, Precision, chosen_precision
from autopose.stdout import reader_left

logger = logging.getLogger("autopose")
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop; ``state`` says what is on disk. No library takes it for its own."""

    def __init__(self, signum: int, state: str = "nothing of this command needs to be saved"):
        super().__init__(f"stopped by {signal.Signals(signum).name}: {state}")
        self.signum, self.exit_code = signum, 128 + signum


def _outlives(signum: int) -> bool:
    """Whether the process was started to go on after this signal, as nohup starts it."""
    return signum == getattr(signal, "SIGHUP", None) and signal.getsignal(signum) is signal.SIG_IGN


class StopRequest:
    """Answers SIGINT, SIGTERM, SIGHUP and SIGUSR1.

    Outside of ``deferred`` a signal raises Interrupted where the program stands: in checks of data, in scoring, while
    figures are drawn. Inside, it becomes a flag that the loop reads between steps, when its state is whole. With
    several processes it is always a flag, because all must stop at the same place. A second SIGINT stops at once.
    Under nohup SIGHUP stays ignored: the run outlives its terminal.
    """

    def __init__(self):
        self.signum, self._deferring = 0, False
        # Hosts agree among themselves: a flag on the device would wait for all that was launched.
        nccl = _several_processes() and dist.get_backend() == "nccl"
        self._hosts = dist.new_group(backend="gloo") if nccl else None
        # Python hands signals to the main thread alone.
        here = threading.current_thread() is threading.main_thread()
        answered = [signum for signum in SIGNALS if here and not _outlives(signum)]
        self._before = {signum: signal.signal(signum, self._handle) for signum in answered}

    def release(self) -> None:
        """Give the signals back to who had them before."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def _handle(self, signum: int, frame) -> None:
        if self.signum == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.signum = signum
        if not self._deferring and not _several_processes():
            raise Interrupted(signum)

    @contextmanager
    def deferred(self, deferring: bool = True) -> Iterator[None]:
        """Signals become a flag in here; with ``deferring`` false they raise again, inside of a deferring block."""
        before, self._deferring = self._deferring, deferring
        try:
            if not deferring and self.signum and not _several_processes():
                raise Interrupted(self.signum)
            yield
        finally:
            self._deferring = before

    def agreed(self) -> int:
        """The signal that any process received, 0 for none; every process gets the same answer."""
        if _several_processes():
            flag = torch.tensor([self.signum])
            dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._hosts)
            self.signum = int(flag.item())
        return self.signum


def _several_processes() -> bool:
    return dist.is_initialized() and dist.get_world_size() > 1


@dataclass(frozen=True)
class Runtime:
    """One process of a run: its device, its place among the others and the run's folder."""

    device: torch.device
    rank: int
    world_size: int
    folder: Path
    stop: StopRequest
    lock: RunLock | None = None
    precision: Precision = FP32

    @property
    def is_main(self) -> bool:
        """Whether this process prints and writes."""
        return self.rank == 0

    def check_batch(self, batch_size: int, accumulate: int) -> None:
        """UserError unless every process gets an equal share of a batch, and an image for each micro-batch of it."""
        if batch_size % self.world_size or batch_size // self.world_size < accumulate:
            raise UserError(
                f"a batch of {batch_size} cannot be shared by {self.world_size} process(es) in {accumulate} "
                "micro-batch(es) each: choose a batch size that divides by the processes, or fewer micro-batches"
            )


def start(
    device: str, folder: str | Path, threads: int | str = 0, deterministic: bool = False, precision: str = "fp32"
) -> Runtime:
    """Join the other processes (torchrun's variables), choose the device, open the log.

    Of ``threads`` "auto" a number is made once a step can be timed: `autopose.runs.threads`.

    Raises:
        UserError: a ``device`` that PyTorch does not see or that lacks ``precision``; a folder that another run holds
            or that takes no files.
    """
    kind = chosen_device(device)
    on_gpu = kind == "cuda"
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    if world_size > 1 and not dist.is_initialized():
        _join("nccl" if on_gpu else "gloo")
    if isinstance(threads, int) and threads:
        torch.set_num_threads(threads)
    chosen = _agreed_precision(chosen_precision(precision, kind))
    folder = Path(agreed_upon(str(folder)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run's folder {folder}: {error.strerror or error}") from None
    lock = RunLock(folder) if rank == 0 else None
    _open_log(folder, rank)
    _set_determinism(deterministic, on_gpu)
    place = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device(kind)
    return Runtime(place, rank, world_size, folder, StopRequest(), lock, chosen)


def chosen_device(device: str) -> str:
    """The kind of device that was asked for, for "auto" CUDA or else the CPU; UserError where PyTorch sees none."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda was asked for, but PyTorch sees no CUDA device: set device=cpu or device=auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError(
            "device=mps was asked for, but PyTorch sees no Apple GPU (Metal): set device=cpu or device=auto"
        )
    return device


def _join(backend: str) -> None:
    """Join the other processes.

    torchrun's agent keeps its store over a restart, and a restarted process can find the address of one that died. On
    one node, where all processes count restarts alike, every attempt has keys of its own.
    """
    store, rank, world_size = next(dist.rendezvous("env://"))
    if os.environ.get("LOCAL_WORLD_SIZE") == str(world_size):
        store = dist.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)


def _agreed_precision(mine: Precision) -> Precision:
    """Of several processes bf16 only where every one computes in it."""
    if not _several_processes():
        return mine
    found: list = [None] * dist.get_world_size()
    dist.all_gather_object(found, mine)
    return next((each for each in found if not each.half), mine)


def agreed_upon(value: str) -> str:
    """The first process's value, on every process."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def printable(text: str) -> str:
    """Text without control characters but line feeds and tabs: a file's name may carry a terminal's commands."""
    return "".join(c if c in "\n\t" or category(c) != "Cc" else repr(c)[1:-1] for c in text)


def _clean(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    return True


class Printed(logging.StreamHandler):
    """Lines on stdout; where their reader leaves, the run goes on, and ``log.txt`` has the rest."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Called by logging where a record could not be written."""
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            reader_left()
        else:
            super().handleError(record)


class LogFile(logging.FileHandler):
    """``log.txt``; a disk without room is said once on stderr, and takes nothing from the run."""

    def __init__(self, path: Path):
        super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        self._said = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Called by logging where a record could not be written."""
        if not self._said:
            print(f"caution    {self.baseFilename} takes no more lines: {sys.exc_info()[1]}", file=sys.stderr)
            self._said = True

    def close(self) -> None:
        """Close the file, whatever the disk says to the last lines."""
        try:
            super().close()
        except OSError:
            self.handleError(logging.makeLogRecord({}))


def _open_log(folder: Path, rank: int) -> None:
    logger.handlers.clear()
    logger.propagate, logger.disabled = False, False
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    handlers: list[logging.Handler] = [Printed(sys.stdout)]
    if rank == 0:
        handlers.append(LogFile(folder / LOG))
    for handler in handlers:
        handler.addFilter(_clean)
        logger.addHandler(handler)


def _set_determinism(deterministic: bool, on_gpu: bool) -> None:
    torch.backends.cudnn.benchmark = on_gpu and not deterministic
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        if on_gpu:
            logger.info(
                "deterministic=true: PyTorch's deterministic algorithms are on; an operation that has none warns by "
                "name (nearest upsampling's and average pooling's backward may), and its last bits can differ"
            )


def progress_bar(total: int, done: int, runtime: Runtime) -> tqdm:
    """A bar on the first process, see ``autopose.progress``."""
    return progress(total=total, done=done, shown=runtime.is_main, at_once=True)


def finish(runtime: Runtime | None) -> None:
    """Leave the process group, close the log, give back the signals and let the run's folder go."""
    if dist.is_initialized():
        dist.destroy_process_group()
    if runtime is not None:
        runtime.stop.release()
        if runtime.lock is not None:
            runtime.lock.release()
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
