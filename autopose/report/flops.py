"""Multiply-adds and parameters of a network, counted by fvcore on its traced graph.

Counted as HRNet's papers do: convolutions only (no normalisation, pooling or upsampling), one image, one multiply-add
as one operation. Modules are named as in ``PoseNetwork``; "" is the whole network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from fvcore.nn import FlopCountAnalysis, parameter_count
from torch import Tensor, nn

from autopose.models import EdgeMixture, PoseNetwork
from autopose.nas import ArchitectureParameters
from autopose.space import MacroArchitecture, MacroSpace

OPERATORS = "autopose::"


@dataclass(frozen=True)
class Count:
    """Multiply-adds of one image and parameters, each by module."""

    macs: Mapping[str, int]
    parameters: Mapping[str, int]


class _Fixed(nn.Module):
    """The network as a function of the image alone, which is what can be traced."""

    def __init__(self, network: PoseNetwork, beta: MacroArchitecture | None, mixtures):
        super().__init__()
        self.network, self.beta, self.mixtures = network, beta, mixtures

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images, self.beta, self.mixtures)


def supernet_mixtures(network: PoseNetwork) -> list[dict[str, EdgeMixture]] | None:
    """Mixing weights with which a supernet evaluates every operation; None for a derived network."""
    return ArchitectureParameters(network.space).mean() if network.is_supernet else None


def count(network: PoseNetwork, image_size: Sequence[int], beta: MacroArchitecture | None = None) -> Count:
    """Count one image [width, height] through ``network`` (on the CPU) under β, a supernet with all six operations.

    Raises:
        RuntimeError: a kernel of the traced graph has no rule here.
    """
    mode, training = network.state.mode, network.training
    network.eval()
    try:
        images = torch.zeros(1, 3, image_size[1], image_size[0])
        with torch.no_grad():
            analysis = FlopCountAnalysis(_Fixed(network, beta, supernet_mixtures(network)), images)
            for name in ("mixed_cell", "aten_mixed_cell"):
                analysis.set_op_handle(f"{OPERATORS}{name}", _mixed_cell_macs)
            analysis.set_op_handle(f"{OPERATORS}compress", _compress_macs)
            for name in ("aten::batch_norm", "aten::upsample_nearest2d", f"{OPERATORS}resample_sum"):
                analysis.set_op_handle(name, _nothing)
            # Additions, pools and the like have no rule, and branches that are off are not called.
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
            by_module, unknown = analysis.by_module(), analysis.unsupported_ops()
    finally:
        network.train(training)
        network.set_norm(mode)
    missed = sorted(name for name in unknown if name.startswith(OPERATORS))
    if missed:
        raise RuntimeError(f"no rule counts the multiply-adds of {', '.join(missed)}")
    macs = {name.removeprefix("network").removeprefix("."): int(n) for name, n in by_module.items() if name}
    return Count(macs, dict(parameter_count(network)))


def _nothing(inputs: list, outputs: list) -> int:
    return 0


def _mixed_cell_macs(inputs: list, outputs: list) -> int:
    """Every edge's convolutions of a fused cell: arguments hold stacked weights (E, C, C, k, k), and first the states,
    a list of (N, C, H, W) or stacked (S, N, H, W, C).
    """
    states = inputs[0]
    if states.type().kind() == "ListType":
        n, _, h, w = next(states.node().inputs()).type().sizes()
    else:
        _, n, h, w, _ = states.type().sizes()
    weights = [value.type().sizes() for value in inputs[1:] if value.type().kind() == "TensorType"]
    return n * h * w * sum(prod(shape) for shape in weights if shape is not None and len(shape) == 5)


def _compress_macs(inputs: list, outputs: list) -> int:
    """The 1x1 convolution of nodes (M, N, H, W, C), its weight (C, M * C, 1, 1)."""
    nodes, weight = (value.type().sizes() for value in inputs[:2])
    return prod(nodes[1:4]) * prod(weight)


def tabulate(macro: MacroSpace, counts: Mapping[str, int]) -> list[tuple[str, list[int]]]:
    """Rows of stem, stages, head and total: cells of every branch, then resampling, then the row's total."""
    branches = range(macro.num_branches)
    rows = [("stem", [0] * (macro.num_branches + 1) + [counts["stem"]])]
    for stage in range(macro.num_stages):
        first = stage * macro.modules_per_stage
        cells, resample = [0] * macro.num_branches, 0
        for name in (f"modules_.{first + m}.branches" for m in range(macro.modules_per_stage)):
            for b in branches:
                between = counts.get(f"{name}.{b}.resample", 0)
                cells[b] += counts.get(f"{name}.{b}", 0) - between
                resample += between
        rows.append((f"stage {stage + 1}", [*cells, resample, sum(cells) + resample]))
    rows.append(("head", [0] * (macro.num_branches + 1) + [counts["head"]]))
    return [*rows, ("total", [sum(column) for column in zip(*(row for _, row in rows), strict=True)])]


def format_table(macro: MacroSpace, counts: Mapping[str, int], unit: float, title: str) -> str:
    """``tabulate`` as text, in multiples of ``unit``; a dash where nothing is."""
    header = [title, *(f"{scale}x" for scale in macro.scales), "resample", "total"]
    lines = ["".join(name.rjust(10) if i else name.ljust(12) for i, name in enumerate(header))]
    for name, row in tabulate(macro, counts):
        lines.append(name.ljust(12) + "".join((f"{n / unit:.4f}" if n else "-").rjust(10) for n in row))
    return "\n".join(lines)
