"""One run a folder: a lock that the system releases when its process ends, however it ends."""

import logging
import os
import socket
from pathlib import Path

from autopose.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

logger = logging.getLogger("autopose")
FILE = ".lock"


class RunLock:
    """Holds a folder until ``release``; child processes do not inherit it."""

    def __init__(self, folder: Path):
        """Raises:
        UserError: another process holds the folder, or nothing can be written into it.
        """
        self._handle: int | None = None
        path = folder / FILE
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._take(path)
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            os.fsync(self._handle)
        except OSError as error:
            self.release()
            raise UserError(
                f"cannot write into the run's folder {folder} ({error.strerror or error}): make room or give another "
                "hydra.run.dir"
            ) from None
        # A loader's worker outlives a killed run by seconds, and must not hold its folder meanwhile.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _take(self, path: Path) -> None:
        if fcntl is None:
            logger.warning("caution    this system has no file locks: do not start two runs in one folder")
            return
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._handle, 200, 0).decode(errors="replace").strip() or "another process"
            self.release()
            raise UserError(
                f"{path.parent} is in use by {holder}: wait for it or stop it, or give another hydra.run.dir"
            ) from None
        except OSError as error:
            logger.warning(
                "caution    the file system of %s has no locks (%s): do not start two runs in one folder", path.parent,
                error.strerror or error,
            )  # fmt: skip

    def _forget(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def release(self) -> None:
        """Let the folder go."""
        self._forget()
