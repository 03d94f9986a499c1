"""What the kernels are measured on: the paper's shapes, one case list for all devices.

Branch b of the supernet holds C = 16 * 2^b channels on 64 / 2^b x 48 / 2^b pixels (256 x 192 input, §4.2). N images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from autopose import kernels
from autopose.kernels.topology import CONV_SIZES, IDENTITY, NUM_NORMED, NUM_OPS, NUM_TAPS, Topology

CHANNELS = (16, 32, 64, 128)
SIZES = ((64, 48), (32, 24), (16, 12), (8, 6))
CELLS = {"mixed_edge": (1, 1), "individual_cell": (1, 4), "aggregation_cell": (4, 2), "one_op_cell": (1, 4)}
ONE_OPS = (1, 2, 3, 1, 0, 4, 5, 2, 1, 1)
PATTERNS = {"all": (1, 1, 1, 1), "1010": (1, 0, 1, 0), "one": (1, 0, 0, 0)}


@dataclass(frozen=True)
class Case:
    """An operator at one shape: ``variant`` is the branch, or for modules the active branches and the relaxation."""

    operator: str
    variant: str
    step: str  # "forward" or "step" (forward and backward)
    batch: int

    @property
    def name(self) -> str:
        return f"{self.operator}-{self.variant}-{self.step}-n{self.batch}"

    @property
    def branch(self) -> int:
        return int(self.variant)


def case_list(batches: Sequence[int], gpu: bool) -> list[Case]:
    """All cases, those of the largest batch first, and of these the steps first; the mix kernel alone on a GPU only."""
    cases = []
    for batch in sorted(batches, reverse=True):
        for operator in ("mixed_edge", "resample_sum", *list(CELLS)[1:]):
            cases += [Case(operator, str(branch), "step", batch) for branch in range(4)]
        cases += [Case("mix", str(branch), "forward", batch) for branch in range(4)] if gpu else []
        cases += [Case("module", f"{pattern}-soft", "step", batch) for pattern in PATTERNS]
        cases += [Case("module", f"{pattern}-hard", "step", batch) for pattern in ("all", "1010")]
        for operator in ("mixed_edge", "resample_sum"):
            cases += [Case(operator, str(branch), "forward", batch) for branch in range(4)]
    return cases


@dataclass
class Problem:
    """Tensors of a case. ``run(implementation)`` gives the outputs, ``leaves`` what gradients are taken of.

    ``macs`` are the multiply-adds of a forward pass, ``tensor_bytes`` what a forward pass must read and write at least.
    """

    run: Callable[[str], Sequence[Tensor]]
    leaves: list[Tensor]
    grads: list[Tensor]
    macs: float = 0.0
    tensor_bytes: float = 0.0


def build(case: Case, device: str, dtype: torch.dtype, memory_format: torch.memory_format, batch: int = 0) -> Problem:
    """The case's tensors, the same numbers whatever the dtype; parameters are float32 (float64 for the truth)."""
    make = _Maker(device, dtype, memory_format)
    if case.operator == "module":
        return _module(case, make, batch or case.batch)
    if case.operator == "mix":
        return _mix(case, make, batch or case.batch)
    if case.operator == "resample_sum":
        return _resample_sum(case, make, batch or case.batch)
    return _cell(case, make, batch or case.batch)


class _Maker:
    """Random tensors from one seed, drawn on the CPU in float32 so that they do not depend on where they go."""

    def __init__(self, device: str, dtype: torch.dtype, memory_format: torch.memory_format):
        self.device, self.dtype, self.memory_format = device, dtype, memory_format
        self.parameter_dtype = torch.float64 if dtype == torch.float64 else torch.float32
        self.generator = torch.Generator().manual_seed(0)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def activation(self, *shape: int) -> Tensor:
        x = self.normal(*shape).to(self.device, self.dtype)
        return x.contiguous(memory_format=self.memory_format).requires_grad_()

    def parameter(self, value: Tensor) -> Tensor:
        return value.to(self.device, self.parameter_dtype).requires_grad_()


def _cell(case: Case, make: _Maker, batch: int) -> Problem:
    (inputs, nodes), c, size = CELLS[case.operator], CHANNELS[case.branch], SIZES[case.branch]
    edges = Topology(inputs, nodes).edges
    states = [make.activation(batch, c, *size) for _ in range(inputs)]
    scale = c**-0.5
    convs = [make.parameter(make.normal(edges, c, c, k, k) * scale / k) for k in CONV_SIZES]
    mix = make.parameter(torch.softmax(make.normal(edges, NUM_OPS), 1))
    grads = [make.activation(batch, c, *size).detach() for _ in range(nodes)]
    pixels = batch * size[0] * size[1]
    if case.operator == "one_op_cell":
        rows = [make.parameter(w.detach()[: ONE_OPS.count(k)]) for k, w in enumerate(convs)]
        macs = pixels * sum(w.numel() for w in rows)
        run = lambda which: kernels.single_edges(  # noqa: E731
            states, nodes, ONE_OPS, *rows, mix[:, 0], implementation="fused" if which == "aten" else which
        )
        return Problem(run, [*states, *rows, mix], grads, macs)
    run = lambda which: kernels.mixed_edges(states, nodes, *convs, mix, implementation=which)  # noqa: E731
    return Problem(run, [*states, *convs, mix], grads, pixels * edges * NUM_TAPS * c * c)


def _resample_sum(case: Case, make: _Maker, batch: int) -> Problem:
    c, size = CHANNELS[case.branch], SIZES[case.branch]
    sources = [make.activation(batch, c, *other) for other in SIZES]
    weights = make.parameter(torch.rand(len(SIZES), generator=make.generator))
    grad = make.activation(batch, c, *size).detach()
    moved = sum(t.numel() * t.element_size() for t in (*sources, grad))
    run = lambda which: [kernels.resample_sum(sources, weights, size, implementation=which)]  # noqa: E731
    return Problem(run, [*sources, weights], [grad], tensor_bytes=moved)


def _mix(case: Case, make: _Maker, batch: int) -> Problem:
    """The last node of an individual cell from the raw outputs of its four edges, normalisation folded in."""
    (_, nodes), c, size = CELLS["individual_cell"], CHANNELS[case.branch], SIZES[case.branch]
    cell = Topology(1, nodes)
    edges, (first, _) = cell.edges, cell.into(nodes - 1)[0]
    states = make.activation(nodes * batch, c, *size).detach().permute(0, 2, 3, 1).reshape(nodes, batch, *size, c)
    planes = make.activation(edges * 3 * batch, c, *size).detach().permute(0, 2, 3, 1).reshape(edges, 3, -1, c)
    coef = make.parameter(make.normal(edges, NUM_NORMED, 2, c)).detach()
    weights = make.parameter(make.normal(edges, NUM_OPS)).detach()
    written, launches = torch.cat([states[1:], torch.empty_like(states[:1])]), []

    def fused() -> Tensor:
        from autopose.kernels._triton.launch import Cell
        from autopose.kernels._triton.mixed_edge.plan import node_launch

        if not launches:
            launches.append(node_launch(Cell(1, nodes, batch, *size, c), nodes - 1))
        launches[0](states[:1], written, planes, coef, weights, None, None)
        return written[-1]

    def reference() -> Tensor:
        total = 0
        for edge, x in enumerate(states, first):
            x = x.permute(0, 3, 1, 2)
            raw = [y.view(batch, *size, c).permute(0, 3, 1, 2) for y in planes[edge]]
            raw += [F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), F.max_pool2d(x, 3, 1, 1)]
            for y, (scale, shift) in zip(raw, coef[edge].to(x.dtype).view(NUM_NORMED, 2, c, 1, 1), strict=True):
                total = total + y * scale + shift
            total = total + x * weights[edge, IDENTITY].to(x.dtype)
        return total.permute(0, 2, 3, 1)

    moved = (nodes * 4 + 1) * batch * c * size[0] * size[1] * planes.element_size()
    return Problem(lambda which: [reference() if which == "reference" else fused()], [], [], tensor_bytes=moved)


def _module(case: Case, make: _Maker, batch: int) -> Problem:
    from autopose.models import EdgeMixture, MultiScaleModule
    from autopose.models.norm import NormState
    from autopose.nas import ArchitectureParameters
    from autopose.nas.alpha import GumbelSettings
    from autopose.space import MacroSpace, SearchSpace

    pattern, relaxation = case.variant.split("-")
    active = [bool(on) for on in PATTERNS[pattern]]
    space, state = SearchSpace.full(MacroSpace()), NormState()
    state.mode = "batch"
    features = [make.activation(batch, c, *size) for c, size in zip(CHANNELS, SIZES, strict=True)]
    grads = [make.activation(batch, c, *size).detach() for c, size in zip(CHANNELS, SIZES, strict=True)]
    torch.manual_seed(0)
    module = MultiScaleModule(space, active, False, state, kernels.KernelChoice())
    module.to(make.device, make.parameter_dtype)
    settings = GumbelSettings("soft" if relaxation == "soft" else "one_op", "constant", 1.0, 1.0)
    drawn = ArchitectureParameters(space).sample(settings, 0.0, torch.Generator().manual_seed(0))
    mixtures = [
        {cell: EdgeMixture(make.parameter(m.weights.detach()), m.chosen) for cell, m in branch.items()}
        for branch in drawn
    ]
    weights = [m.weights for branch in mixtures for m in branch.values()]
    users = [m for m in module.modules() if hasattr(m, "choice")]

    def run(which: str) -> list[Tensor]:
        for user in users:
            user.choice = kernels.KernelChoice(which, "fused" if which == "aten" else which, which)
        return module(features, active, mixtures)

    return Problem(run, [*features, *module.parameters(), *weights], grads)
