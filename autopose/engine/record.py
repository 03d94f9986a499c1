"""What a run writes down: ``metrics.jsonl`` and TensorBoard scalars."""

import json
import os
from pathlib import Path

from autopose.errors import UserError


class MetricsLog:
    """One JSON object an epoch in ``metrics.jsonl``, and the same numbers in ``tb/``.

    Opening it at epoch e drops a half-written last line and the rows of epochs e and later, so a resumed run repeats
    none. Only values that a resumed run reproduces belong in here; times go to the log.
    """

    def __init__(self, folder: Path, epoch: int = 0):
        self.path = folder / "metrics.jsonl"
        self.rows = [row for row in read_metrics(self.path) if row["epoch"] < epoch]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        os.replace(partial, self.path)
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / "tb"), purge_step=epoch if epoch else None)

    def write(self, row: dict) -> None:
        """Append a row; it must have "epoch"."""
        self.rows.append(row)
        try:
            with open(self.path, "a") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(f"cannot write {self.path}: {error.strerror or error}") from None
        self.scalars(row, row["epoch"])

    def scalars(self, values: dict, step: int) -> None:
        """Numbers, also in nested dicts, as TensorBoard scalars."""
        for name, value in values.items():
            if isinstance(value, dict):
                self.scalars({f"{name}/{k}": v for k, v in value.items()}, step)
            elif isinstance(value, int | float) and name != "epoch":
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's file."""
        self._board.close()


def read_metrics(path: Path) -> list[dict]:
    """Rows of a ``metrics.jsonl``; lines that are no row (half written) are left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("epoch"), int):
            rows.append(row)
    return rows
