"""What a folder holds of an earlier run, put back where a command in it is refused."""

import os
from pathlib import Path

from autopose.errors import UserError
from autopose.files import save
from autopose.runs.lock import FILE, RunLock

HYDRA, LOG = ".hydra", "log.txt"


class EarlierRun:
    """A run's folder as it was before a command, whose configuration Hydra writes before anything is checked."""

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        self.hydra = {path: path.read_bytes() for path in (self.folder / HYDRA).glob("*") if path.is_file()}
        log = self.folder / LOG
        self.log_bytes = log.stat().st_size if log.exists() else None
        self.others = self._others()

    def put_back(self) -> None:
        """Restore the configuration, and the log too where the refused command had the folder to itself.

        Nothing is done where files were written: then the command was not refused, but ended by what came later.
        """
        try:
            lock = RunLock(self.folder)
        except UserError:  # the run that is there goes on, and so does its log
            self._put_hydra_back()
            return
        if self._others() == self.others:
            self._put_hydra_back()
            if self.log_bytes is not None and (self.folder / LOG).stat().st_size > self.log_bytes:
                os.truncate(self.folder / LOG, self.log_bytes)
        lock.release()

    def _put_hydra_back(self) -> None:
        for path, content in self.hydra.items():
            if not path.exists() or path.read_bytes() != content:
                save(path, content)

    def _others(self) -> dict[str, int]:
        """Times of what else lies in the folder: a folder in it has that of the last file made or replaced there."""
        if not self.folder.is_dir():
            return {}
        names = {HYDRA, LOG, FILE}
        return {path.name: path.stat().st_mtime_ns for path in self.folder.iterdir() if path.name not in names}
