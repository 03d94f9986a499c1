"""Measured times of a space's parts, from which a network's is added up: a table in a JSON file, read without PyTorch.

``python -m autopose.latency architecture=hrnet latency.operations=true`` writes one. Keys of the file: format, version,
software, hardware {cpu, cores, threads, gpu, python, torch}, form (what ran, which is what predict runs on a CPU in
float32), space (as in architecture.json), width (channels over the space's), operations, image_size [width, height],
num_joints, batches [1, N], parts and check. A row of ``parts`` is {part, branch, name, batch, p20_ms, p50_ms, p80_ms};
b is a branch, counted from the finest scale:

- stem (0, ""), head (0, "");
- operation (b, its name): one edge with its sum, of an individual cell that has the operation on all of them;
- compress (b, individual or aggregation): what brings a cell's nodes to one tensor;
- resample (b, source branch): what brings another branch's tensor to this one.

A row of ``check`` is {architecture, batch, measured_ms, sum_ms, error}: whole networks beside their sums.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from autopose.errors import UserError

from .architecture import macro_space_from
from .cell import Genotype
from .macro import MacroArchitecture, MacroSpace

FORMAT, VERSION = "autopose-latency", 1
Part = tuple[str, int, str]


@dataclass(frozen=True)
class LatencyTable:
    """Medians in milliseconds of everything that a network of a space is made of.

    Attributes:
        space: of the architectures; width: of the measured networks, channels over the space's.
        operations: whose time is known; image_size: [width, height] px; num_joints: K.
        hardware: what it was measured on, by name.
        batches: images a call.
        ms: by (part, branch, name), a value a batch.
        form: what ran, as in predict's line "precision".
    """

    space: MacroSpace
    width: float
    operations: tuple[str, ...]
    image_size: tuple[int, int]
    num_joints: int
    hardware: Mapping[str, object]
    batches: tuple[int, ...]
    ms: Mapping[Part, tuple[float, ...]]
    form: str = "PyTorch, folded"

    @classmethod
    def load(cls, path: str | Path) -> "LatencyTable":
        """The table of a file.

        Raises:
            UserError: no such file, another format or version, or a table in which a part is missing.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"there is no latency table {path}: "
                "python -m autopose.latency architecture=hrnet latency.operations=true writes one"
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read the latency table {path}: {str(error)[:100]}") from None
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
            raise UserError(f"{path} is no latency table of version {VERSION}: measure again by autopose.latency")
        try:
            return cls.from_dict(content)
        except UserError as error:
            raise UserError(f"{path} is no whole latency table: {error}") from None
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no whole latency table ({error!r:.100}): measure again") from None

    @classmethod
    def from_dict(cls, content: dict) -> "LatencyTable":
        """From the file's content; KeyError, TypeError or ValueError where it is not whole."""
        batches = tuple(int(batch) for batch in content["batches"])
        by_batch: dict[Part, dict[int, float]] = {}
        for row in content["parts"]:
            value = float(row["p50_ms"])
            if not 0 <= value < 1e9:
                raise ValueError(f"p50_ms {value}")
            by_batch.setdefault((row["part"], int(row["branch"]), str(row["name"])), {})[int(row["batch"])] = value
        found = cls(
            macro_space_from(content["space"]),
            float(content["width"]),
            tuple(map(str, content["operations"])),
            (int(content["image_size"][0]), int(content["image_size"][1])),
            int(content["num_joints"]),
            {key: content["hardware"][key] for key in ("cpu", "threads", "gpu", "torch")},
            batches,
            {part: tuple(values[batch] for batch in batches) for part, values in by_batch.items()},
            str(content.get("form", cls.form)),
        )
        missing = set(parts_of(found.space, found.operations)) - set(found.ms)
        if missing:
            raise ValueError(f"no row of {sorted(missing)[0]}")
        return found

    def check(self, space: MacroSpace, width: float, image_size: Sequence[int], operations: Sequence[str]) -> None:
        """UserError, which names the first difference, unless the table is of these networks."""
        unknown = [name for name in operations if name not in self.operations]
        mine, wanted = asdict(self.space), asdict(space)
        for bound in ("min_active", "max_active", "beta_sharing"):  # nothing that is measured depends on them
            mine.pop(bound), wanted.pop(bound)
        pairs = [(key, mine[key], wanted[key]) for key in mine]
        pairs += [("width", self.width, float(width)), ("image size", self.image_size, tuple(image_size))]
        for name, measured, asked in pairs:
            if measured != asked:
                raise UserError(
                    f"the latency table was measured for {name} {measured}, but this run has {asked}: measure one for "
                    "this space (python -m autopose.latency architecture=hrnet latency.operations=true)"
                )
        if unknown:
            raise UserError(f"the latency table has no time of the operation {unknown[0]}: measure again with it")

    def measured_on(self) -> str:
        """The hardware in words."""
        return f"{self.hardware['gpu'] or self.hardware['cpu']}, {self.hardware['threads']} thread(s), {self.form}"

    def operation_ms(self, branch: int, name: str, batch: int = 1) -> float:
        """One edge of a branch's cells under an operation."""
        return self._ms("operation", branch, name, batch)

    def branch_ms(self, branch: int, cells: Mapping[str, Genotype], batch: int = 1) -> float:
        """One active branch of one multi-scale module."""
        others = [b for b in range(self.space.num_branches) if b != branch]
        total = sum(self._ms("resample", branch, str(source), batch) for source in others)
        for name, cell in cells.items():
            kind = "aggregation" if name == "aggregation" else "individual"
            total += sum(self.operation_ms(branch, op, batch) for op in cell.ops)
            total += self._ms("compress", branch, kind, batch)
        return total if "aggregation" in cells else total + self._ms("compress", branch, "aggregation", batch)

    def network_ms(self, macro: MacroArchitecture, cells: Sequence[Mapping[str, Genotype]], batch: int = 1) -> float:
        """The sum over a derived network: ``cells`` of every branch under β ``macro``."""
        total = self._ms("stem", 0, "", batch) + self._ms("head", 0, "", batch)
        branches = [self.branch_ms(b, mine, batch) for b, mine in enumerate(cells)]
        for module in range(self.space.num_modules):
            total += sum(branches[b] for b, on in enumerate(macro.rows[self.space.decision_of(module)]) if on)
        return total

    def _ms(self, part: str, branch: int, name: str, batch: int) -> float:
        if batch not in self.batches:
            raise UserError(f"the latency table knows batches of {self.batches}, not of {batch}")
        return self.ms[part, branch, name][self.batches.index(batch)]


def parts_of(space: MacroSpace, operations: Sequence[str]) -> list[Part]:
    """All parts of networks of a space, see the module."""
    branches = range(space.num_branches)
    found = [("stem", 0, ""), ("head", 0, "")]
    found += [("operation", b, name) for b in branches for name in operations]
    found += [("compress", b, kind) for b in branches for kind in ("individual", "aggregation")]
    return found + [("resample", b, str(source)) for b in branches for source in branches if source != b]
