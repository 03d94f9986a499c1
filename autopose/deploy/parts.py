"""The time of every part of a space's networks as inference runs it: rows of ``autopose.space.latency``. N images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch import Tensor, nn

from autopose import __version__
from autopose.config import ExportConfig
from autopose.deploy.fastest import FOLDED, ONNX
from autopose.deploy.graph import ExportedPose, sample
from autopose.deploy.latency import settled, timed
from autopose.deploy.onnx_file import OnnxNetwork, onnx_file
from autopose.deploy.onnx_parts import onnx_functions, part_timings
from autopose.models import PoseNetwork
from autopose.models.foreign import foreign_module
from autopose.models.inference import AVERAGE, InferenceNode, Sources
from autopose.models.norm import NormState
from autopose.runs.timing import Timing
from autopose.space import OPS, Architecture, CellSpace, MacroSpace, builtin_architecture
from autopose.space.builtin import HAND_MADE, random_architecture
from autopose.space.cell import num_edges
from autopose.space.latency import FORMAT, VERSION, LatencyTable, Part, parts_of

# Random networks among those that check the sums.
RANDOM = 3


class Parts:
    """The parts of networks whose space has been widened, on one device.

    Args:
        macro: the space, already as wide as its networks.
        operations: of its edges.
        size_wh: width and height of the images in px.
    """

    def __init__(
        self, macro: MacroSpace, operations: Sequence[str], size_wh: tuple[int, int], joints: int, device: torch.device
    ):
        self.macro, self.operations, self.size, self.device = macro, tuple(operations), size_wh, device
        network = settled(PoseNetwork(builtin_architecture("all_on_conv3", macro).space(), joints), size_wh)
        self.folded = network.for_inference(device).requires_grad_(False)

    def functions(self, batch: int) -> dict[Part, Callable[[], object]]:
        """What to call for every part at a batch."""
        return {part: partial(call, *inputs) for part, (call, inputs) in self.calls(batch).items()}

    def calls(self, batch: int) -> dict[Part, tuple[Callable, Sequence[Tensor]]]:
        """A function and what it takes for every part at a batch."""
        images = sample(self.size, batch).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            features = [x.contiguous(memory_format=torch.channels_last) for x in self.folded.stem_features(images)]
        found: dict[Part, tuple[Callable, Sequence[Tensor]]] = {}
        for part in parts_of(self.macro, self.operations):
            kind, branch, name = part
            x = features[branch]
            if kind == "stem":
                found[part] = self.folded.stem_features, [images]
            elif kind == "head":
                found[part] = lambda *features: self.folded.head(list(features)), features
            elif kind == "operation":
                found[part] = self._edges(branch, name), [x]
            elif kind == "compress":
                found[part] = self._compress(branch, name), [x]
            else:
                found[part] = self._branch(branch).resample[name], [features[int(name)]]
        return found

    def _branch(self, branch: int) -> nn.Module:
        return self.folded.modules_[0].branches[str(branch)]

    def _edges(self, branch: int, name: str) -> Callable[[Tensor], object]:
        """The nodes of an individual cell, one operation on every edge: what edges share is shared."""
        channels, space = self.macro.channels[branch], CellSpace.full(1, self.macro.nodes_individual)
        if name not in OPS:
            module = foreign_module(name, channels, True, NormState()).eval().to(self.device)
            return lambda x: [module(x) + x for _ in space.edges()]
        op, one, none = OPS.index(name), torch.ones(channels).double(), torch.zeros(channels).double()
        edges: list[list[tuple]] = [[] for _ in range(space.num_nodes)]
        for node, source in space.edges():
            side = 2 * op + 1
            weight = torch.randn(channels, channels, side, side, dtype=torch.double) / (side * channels**0.5)
            edges[node].append((op, source, weight if op < AVERAGE else None, one, none))
        nodes = nn.ModuleList(InferenceNode(mine) for mine in edges)
        nodes.to(self.device, memory_format=torch.channels_last).requires_grad_(False)

        def run(x: Tensor) -> Tensor:
            sources = Sources([x])
            for node in nodes:
                sources.states.append(node(sources))
            return sources.states[-1]

        return run

    def _compress(self, branch: int, kind: str) -> Callable[[Tensor], Tensor]:
        """ReLU, concatenation and 1x1 convolution of a cell's nodes, or of all branches without an aggregation cell."""
        macro = self.macro
        count = macro.nodes_individual if kind == "individual" else macro.nodes_aggregation
        if kind == "aggregation" and macro.aggregation == "concat":
            count = macro.num_branches
        channels = macro.channels[branch]
        conv = nn.Conv2d(count * channels, channels, 1).requires_grad_(False)
        conv.to(self.device, memory_format=torch.channels_last)
        return lambda x: conv(torch.cat([torch.relu(x) for _ in range(count)], 1))


@dataclass(frozen=True)
class Measured:
    """What a table is measured for.

    Attributes:
        space: of the architectures; width: of the networks, channels over the space's.
        operations: of the edges; size_wh: width and height in px; joints: K.
        batches: images a call.
    """

    space: MacroSpace
    width: float
    operations: tuple[str, ...]
    size_wh: tuple[int, int]
    joints: int
    batches: tuple[int, ...]


def measure_parts(
    wanted: Measured, rounds: int, device: torch.device, hardware: dict, by_onnx_runtime: bool = False
) -> dict:
    """The content of a latency table, whose sums are checked against whole networks that are timed beside the parts.

    Args:
        by_onnx_runtime: in ONNX Runtime, where that is what predict runs, else in PyTorch with folded normalisation.
    """
    parts = Parts(wanted.space.widened(wanted.width), wanted.operations, wanted.size_wh, wanted.joints, device)
    networks = architectures(wanted.space, wanted.operations)
    forms = {name: _form(architecture, wanted, device, by_onnx_runtime) for name, architecture in networks.items()}
    functions: dict = {}
    for batch in wanted.batches:
        if by_onnx_runtime:
            functions |= onnx_functions(parts.calls(batch), batch)
        else:
            functions |= {(part, batch): call for part, call in parts.functions(batch).items()}
        images = sample(wanted.size_wh, batch).to(device, memory_format=torch.channels_last)
        functions |= {(name, batch): partial(form, images) for name, form in forms.items()}
    timings = timed(functions, rounds, device)
    whole = {key: timings.pop(key).p50_ms for key in list(timings) if key[0] in networks}
    of_parts = part_timings(timings) if by_onnx_runtime else timings
    space, edges = asdict(wanted.space), num_edges(1, wanted.space.nodes_individual)
    content = {
        "format": FORMAT, "version": VERSION, "software": f"autopose {__version__}", "hardware": hardware,
        "form": ONNX if by_onnx_runtime else FOLDED,
        "space": {**space, "channels": list(space["channels"])}, "width": wanted.width,
        "operations": list(wanted.operations), "image_size": list(wanted.size_wh), "num_joints": wanted.joints,
        "batches": list(wanted.batches),
        "parts": [_row(part, batch, timing, edges) for (part, batch), timing in of_parts.items()],
    }  # fmt: skip
    return content | {"check": compared(LatencyTable.from_dict(content), networks, whole)}


def _form(
    architecture: Architecture, wanted: Measured, device: torch.device, by_onnx_runtime: bool
) -> Callable[[Tensor], object]:
    """A whole network as its parts are measured."""
    network = PoseNetwork(architecture.space(wanted.width), wanted.joints)
    network = settled(network, wanted.size_wh).place(device)
    if not network.foldable:
        return network
    folded = network.for_inference(device)
    if not by_onnx_runtime:
        return folded
    pose = ExportedPose(folded, wanted.size_wh, None, False).eval()
    return OnnxNetwork(onnx_file(pose, wanted.size_wh, ExportConfig.opset, {}), torch.get_num_threads())


def architectures(space: MacroSpace, operations: Sequence[str]) -> dict[str, Architecture]:
    """Whole networks by name: the hand-made ones that the operations allow, and random ones."""
    found = {name: make(space) for name, make in HAND_MADE.items()}
    known = set(operations)
    found = {name: a for name, a in found.items() if known >= {op for b in a.cells for c in b.values() for op in c.ops}}
    return found | {f"random {seed}": random_architecture(space, seed, operations) for seed in range(RANDOM)}


def compared(table: LatencyTable, networks: Mapping[str, Architecture], whole: Mapping[tuple[str, int], float]):
    """A row {architecture, batch, measured_ms, sum_ms, error} for every time of a whole network."""
    rows = []
    for (name, batch), measured in whole.items():
        total = table.network_ms(networks[name].macro, networks[name].cells, batch)
        row = {"architecture": name, "batch": batch, "measured_ms": measured, "sum_ms": total}
        rows.append({**row, "error": total / measured - 1})
    return rows


def _row(part: Part, batch: int, timing: Timing, edges: int) -> dict:
    kind, branch, name = part
    share = edges if kind == "operation" else 1
    values = {key: value / share for key, value in asdict(timing).items() if key != "rounds"}
    return {"part": kind, "branch": branch, "name": name, "batch": batch, **values}
