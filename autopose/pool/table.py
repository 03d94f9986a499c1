"""The table of a pool: small enough to commit, read without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from autopose.errors import UserError
from autopose.files import save
from autopose.space import Architecture, Genotype, MacroArchitecture, MacroSpace
from autopose.space.architecture import predecessor_names
from autopose.space.ops import ordered

FORMAT, VERSION = "autopose-pool", 1
# A genotype is written as one character an edge: the operation's place in the table's list.
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Entry:
    """One architecture and what its trainings gave.

    Attributes:
        name: "random 12", or as it was included ("hrnet", a file's path); drawn within the band: ``band`` true.
        width: channels over the space's.
        gmacs: 10^9 multiply-adds; parameters: of the network.
        scores: by seed, metrics by name (AP as a fraction, PCK and PCKh in percent).
        losses: by seed, the mean training loss of every epoch.
    """

    architecture: Architecture
    name: str
    band: bool
    width: float
    gmacs: float
    parameters: int
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    losses: Mapping[int, Sequence[float]] = field(default_factory=dict)

    def mean(self, metric: str) -> float:
        """Mean of a metric over the seeds."""
        return sum(scores[metric] for scores in self.scores.values()) / len(self.scores)


@dataclass(frozen=True)
class Table:
    """The entries of a pool, how they were trained, and what one constant pose scores on the same pictures.

    Attributes:
        metric: the one that the pool is about, a key of every entry's scores.
        recipe: the settings that results depend on, as a configuration has them.
        constant: metrics of the constant pose.
        made_with: hardware and versions.
    """

    space: MacroSpace
    metric: str
    recipe: Mapping
    entries: tuple[Entry, ...]
    constant: Mapping[str, float]
    made_with: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def query(self, architecture: Architecture, width: float = 1) -> Entry | None:
        """The entry of an architecture (β and operations) at ``width``, None where it was not trained."""
        return self._index.get((width, *_key(architecture)))

    @property
    def _index(self) -> dict[tuple, Entry]:
        found = self.__dict__.get("_by_key")
        if found is None:
            found = {(entry.width, *_key(entry.architecture)): entry for entry in self.entries}
            object.__setattr__(self, "_by_key", found)
        return found

    def save(self, path: str | os.PathLike) -> None:
        """Write the table, a line an entry."""
        operations = ordered(
            op for entry in self.entries for cells in entry.architecture.cells for cell in cells.values()
            for op in cell.ops
        )  # fmt: skip
        head = {
            "format": FORMAT, "version": VERSION, "metric": self.metric, "space": asdict(self.space),
            "operations": operations, "recipe": self.recipe, "constant": self.constant, "made_with": self.made_with,
        }  # fmt: skip
        rows = [json.dumps(_row(entry, operations), separators=(",", ":")) for entry in self.entries]
        text = json.dumps(head, indent=1)[:-2] + ',\n "entries": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n"
        save(path, text)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Table:
        """Read a table.

        Raises:
            UserError: no table of this version, or one that was cut short or edited into nonsense.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the pool's table {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise UserError(f"{path} is no pool's table, or was cut short: {str(error)[:80]}") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT or content.get("version") != VERSION:
            raise UserError(f'{path} is no pool\'s table of version {VERSION} ("format" {FORMAT!r})')
        try:
            space = MacroSpace(**content["space"])
            entries = tuple(_entry(row, space, content["operations"]) for row in content["entries"])
            return cls(space, content["metric"], content["recipe"], entries, content["constant"], content["made_with"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(f"{path} cannot be used as a pool's table: {type(error).__name__} {error}") from None


def _key(architecture: Architecture) -> tuple:
    cells = tuple(tuple(sorted((name, cell.ops) for name, cell in cells.items())) for cells in architecture.cells)
    return architecture.macro.rows, cells


def _row(entry: Entry, operations: Sequence[str]) -> dict:
    place = {op: _DIGITS[number] for number, op in enumerate(operations)}
    return {
        "name": entry.name,
        "band": entry.band,
        "width": entry.width,
        "beta": str(entry.architecture.macro)[1:-1],
        "cells": [
            {name: "".join(place[op] for op in cell.ops) for name, cell in cells.items()}
            for cells in entry.architecture.cells
        ],
        "gmacs": entry.gmacs,
        "parameters": entry.parameters,
        "scores": {str(seed): dict(scores) for seed, scores in entry.scores.items()},
        "losses": {str(seed): [float(f"{loss:.4g}") for loss in losses] for seed, losses in entry.losses.items()},
    }


def _entry(row: Mapping, space: MacroSpace, operations: Sequence[str]) -> Entry:
    def genotype(name: str, digits: str) -> Genotype:
        inputs, nodes = predecessor_names(name, space)
        return Genotype(len(inputs), nodes, tuple(operations[_DIGITS.index(digit)] for digit in digits))

    beta = MacroArchitecture.of([[int(on) for on in row] for row in row["beta"].split()])
    cells = tuple({name: genotype(name, digits) for name, digits in cells.items()} for cells in row["cells"])
    architecture = Architecture(space, beta, cells, {"pool": row["name"]})
    scores, losses = ({int(seed): value for seed, value in row[key].items()} for key in ("scores", "losses"))
    return Entry(architecture, row["name"], row["band"], row["width"], row["gmacs"], row["parameters"], scores, losses)
