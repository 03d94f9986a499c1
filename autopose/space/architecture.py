"""An architecture: β and one operation for every edge; the only thing that a search hands on."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from pathlib import Path

from autopose.errors import UserError
from autopose.files import save_json

from .cell import CellSpace, Genotype
from .macro import MacroArchitecture, MacroSpace
from .search_space import CELLS, BranchSpace, SearchSpace

FORMAT = "autopose-architecture"
VERSION = 1


@dataclass(frozen=True)
class Architecture:
    """A point of the search space.

    Args:
        macro_space: the space that it belongs to (supernet channels).
        macro: β.
        cells: per branch, the genotype of "individual_1", "individual_2" and (unless aggregation is "concat")
            "aggregation"; operations of other packages stand by their dotted paths, which are imported on loading.
        found_by: how it was found; any JSON data.
    """

    macro_space: MacroSpace
    macro: MacroArchitecture
    cells: tuple[dict[str, Genotype], ...]
    found_by: dict = field(default_factory=dict)

    def __post_init__(self):
        self.macro_space.check(self.macro)
        if len(self.cells) != self.macro_space.num_branches:
            raise UserError(
                f"{self.macro_space.num_branches} branches need as many sets of cells, not {len(self.cells)}"
            )

    def space(self, width: float = 1) -> SearchSpace:
        """The space whose only member is this architecture, with channels times ``width`` (see ``MacroSpace.widened``):
        a derived network.
        """
        branches = tuple(
            BranchSpace(**{name: CellSpace.fixed(cells[name]) if name in cells else None for name in CELLS})
            for cells in self.cells
        )
        return SearchSpace(self.macro_space.widened(width), branches, self.macro)

    def network(self, num_joints: int = 17, width: float = 2):
        """The plain ``nn.Module`` of this architecture, with new weights: (N, 3, H, W) to (N, K, H / 4, W / 4).

        PyTorch is imported when it is asked for; nothing else of this package needs it.
        """
        return import_module("autopose.models").network_of(self, num_joints, width)

    def backbone(self, width: float = 2):
        """The same without a head: a list of feature maps, with ``out_channels`` and ``strides``."""
        return self.network(width=width).backbone()

    def to_json(self) -> dict:
        """The versioned content of ``architecture.json``."""
        space = asdict(self.macro_space)
        space["channels"] = list(space["channels"])
        return {
            "format": FORMAT,
            "version": VERSION,
            "space": space,
            "beta": [[int(on) for on in row] for row in self.macro.rows],
            "cells": [
                {"scale": scale, **{name: _named(cell, name, self.macro_space) for name, cell in cells.items()}}
                for scale, cells in zip(self.macro_space.scales, self.cells, strict=True)
            ],
            "found_by": self.found_by,
        }

    def save(self, path: str | os.PathLike) -> None:
        """Write ``architecture.json`` atomically."""
        save_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Architecture":
        """Read ``architecture.json``; UserError for another version, another format or nonsense."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise UserError(f"cannot read the architecture {path}: {error.strerror or error}") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is not an architecture: it is no JSON ({str(error)[:80]})") from None
        try:
            return cls.from_json(content)
        except UserError as error:
            raise UserError(f"{path} cannot be used as an architecture: {error}") from None

    @classmethod
    def from_json(cls, content: object) -> "Architecture":
        """The inverse of ``to_json``."""
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(f'its "format" is not "{FORMAT}"')
        if content.get("version") != VERSION:
            raise UserError(f"it has version {content.get('version')!r}, this software reads version {VERSION}")
        space = macro_space_from(content.get("space"))
        cells = content.get("cells")
        if not isinstance(cells, list) or len(cells) != space.num_branches:
            raise UserError(f'"cells" must list the cells of {space.num_branches} branches')
        found_by = content.get("found_by", {})
        return cls(
            space,
            _beta(content.get("beta")),
            tuple(_branch_cells(entry, scale, space) for entry, scale in zip(cells, space.scales, strict=True)),
            found_by if isinstance(found_by, dict) else {},
        )


def predecessor_names(cell: str, space: MacroSpace) -> tuple[list[str], int]:
    """Names of a cell's inputs as ``architecture.json`` writes them, and its number of nodes."""
    if cell == "aggregation":
        return [f"branch_{scale}x" for scale in space.scales], space.nodes_aggregation
    return ["input"], space.nodes_individual


def _named(genotype: Genotype, cell: str, space: MacroSpace) -> dict:
    inputs, _ = predecessor_names(cell, space)
    ops, nodes = iter(genotype.ops), {}
    for node in range(genotype.num_nodes):
        nodes[f"node_{node}"] = {name: next(ops) for name in inputs + [f"node_{j}" for j in range(node)]}
    return nodes


def macro_space_from(content: object) -> MacroSpace:
    """The space of a file's "space"; UserError where it is none."""
    names = {f.name for f in fields(MacroSpace)}
    if not isinstance(content, dict) or set(content) != names or not isinstance(content["channels"], list):
        raise UserError(f'"space" must have exactly the keys {", ".join(sorted(names))}')
    for bound in ("min_active", "max_active"):
        if not isinstance(content[bound], int):
            raise UserError(f'"{bound}" must be a whole number, but is {content[bound]!r}')
    return MacroSpace(**{**content, "channels": tuple(content["channels"])})


def _beta(content: object) -> MacroArchitecture:
    rows = content if isinstance(content, list) else [None]
    if not all(isinstance(row, list) and all(type(value) is int and value in (0, 1) for value in row) for row in rows):
        raise UserError('"beta" must be rows of 0 and 1')
    return MacroArchitecture.of(rows)


def _branch_cells(entry: object, scale: int, space: MacroSpace) -> dict[str, Genotype]:
    names = [name for name in CELLS if name != "aggregation" or space.aggregation == "cell"]
    if not isinstance(entry, dict) or set(entry) != {"scale", *names} or entry["scale"] != scale:
        raise UserError(f'the cells of branch {scale}x must have "scale": {scale} and {", ".join(names)}')
    found = {}
    for name in names:
        inputs, num_nodes = predecessor_names(name, space)
        ops = []
        nodes = entry[name]
        if not isinstance(nodes, dict) or set(nodes) != {f"node_{i}" for i in range(num_nodes)}:
            raise UserError(f"cell {name} of branch {scale}x must have the nodes node_0 to node_{num_nodes - 1}")
        for i in range(num_nodes):
            wanted, given = inputs + [f"node_{j}" for j in range(i)], nodes[f"node_{i}"]
            if not isinstance(given, dict) or set(given) != set(wanted):
                raise UserError(f"node_{i} of {name} of branch {scale}x must name an operation for {', '.join(wanted)}")
            ops += [given[w] for w in wanted]
        if not all(isinstance(op, str) for op in ops):
            raise UserError(f"an operation of {name} of branch {scale}x is not a name")
        found[name] = Genotype(len(inputs), num_nodes, tuple(ops))
    return found
