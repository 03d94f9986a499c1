"""Cells of any candidates: fewer operations than six, operations of other packages, other sets on some edges."""

import pytest
import torch
from networks import REFERENCE, images
from torch import Tensor, nn

from autopose.errors import UserError
from autopose.kernels import KernelChoice, reference
from autopose.models import Cell, EdgeMixture, PoseNetwork
from autopose.models.norm import BatchNorm2d, NormState
from autopose.nas import ArchitectureParameters, GumbelSettings, cells_of, derive_cells, inherit_weights
from autopose.nas.randomness import generator
from autopose.space import OPS, Architecture, CellSpace, MacroSpace, Operation, SearchSpace, operation
from autopose.space.macs import count_macs
from autopose.space.search_space import BranchSpace

DEPTHWISE = Operation(
    "depthwise", "dw", "#123456", lambda c: 9 * c,
    lambda c: nn.Sequential(nn.ReLU(), nn.Conv2d(c, c, 3, 1, 1, groups=c, bias=False), nn.BatchNorm2d(c)),
)  # fmt: skip
SCALE = Operation("scale", "a", "#abcdef", lambda c: 0, lambda c: Scale(c), normalised=False)
SHRINK = Operation("shrink", "s", "#abcdef", lambda c: 0, lambda c: nn.AvgPool2d(2))
NO_MODULE = Operation("function", "f", "#abcdef", lambda c: 0, lambda c: torch.relu)
OUTSIDE = tuple(f"{__name__}:{name}" for name in ("DEPTHWISE", "SCALE"))
MACRO = MacroSpace((4, 6), 2, 1, 2, 1, 4)
SETS = {
    "two of six": ("conv_3x3", "skip_connect"),
    "five of six": OPS[1:],
    "six and two": (*OPS, *OUTSIDE),
    "three and two": ("conv_1x1", "max_pool_3x3", "skip_connect", *OUTSIDE),
    "one from outside": OUTSIDE[:1],
}
CHOICES = [name for name in SETS if name != "one from outside"]


class Scale(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels, 1, 1), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def supernet(space: SearchSpace, seed: int = 0, choice: KernelChoice = REFERENCE) -> PoseNetwork:
    torch.manual_seed(seed)
    network = PoseNetwork(space, 3, choice=choice).double()
    network.set_norm("batch")
    with torch.no_grad():
        network.head.predict.weight.mul_(100)
    return network


def drawn_alphas(space: SearchSpace, seed: int = 0) -> ArchitectureParameters:
    alphas = ArchitectureParameters(space, seed).double()
    with torch.no_grad():
        for alpha in alphas.parameters():
            alpha.normal_(generator=generator(seed, "test"))
    return alphas


def uneven() -> SearchSpace:
    """Other candidates on every edge of the individual cells, in an order that is not the columns'."""
    individual = CellSpace(1, 2, (("skip_connect", "conv_1x1"), OPS, (OUTSIDE[0], "max_pool_3x3")))
    branch = BranchSpace(individual, individual, CellSpace.full(2, 1, ("conv_3x3", OUTSIDE[1])))
    return SearchSpace(MACRO, (branch, branch))


SPACES = {name: SearchSpace.full(MACRO, operations=names) for name, names in SETS.items()} | {"uneven": uneven()}


@pytest.mark.parametrize("names", [SETS[name] for name in CHOICES], ids=CHOICES)
def test_a_cell_is_the_weighted_sum_of_its_candidates(names):
    """Against the reference, one operation of one edge at a time, and the foreign modules called by hand."""
    torch.manual_seed(0)
    space, state = CellSpace.full(2, 2, names), NormState()
    state.mode = "batch"
    cell = Cell(space, 4, False, state, REFERENCE).double()
    convs = [torch.zeros(space.num_edges, 4, 4, k, k, dtype=torch.float64) for k in (1, 3, 5)]
    for edge, op in cell.rows:
        if op < 3:
            convs[op][edge] = cell.rows_of(f"conv{2 * op + 1}", [(edge, op)])[0].detach()
    weights = torch.rand(space.num_edges, len(space.operations), dtype=torch.float64, requires_grad=True)
    inputs = [torch.randn(2, 4, 5, 3, dtype=torch.float64) for _ in range(2)]
    found = cell(inputs, EdgeMixture(weights, None, space.operations))
    states, edge = list(inputs), 0
    for _ in range(2):
        node = 0
        for x in tuple(states):
            for column, name in enumerate(space.operations):
                if name in OPS:
                    one_hot = torch.eye(len(OPS), dtype=torch.float64)[[OPS.index(name)]]
                    (y,) = reference.mixed_edges([x], 1, *(conv[edge : edge + 1] for conv in convs), one_hot)
                else:
                    y = cell.foreign[f"{edge}_{name.replace(':', '-')}"](x)
                node = node + weights[edge, column] * y
            edge += 1
        states.append(node)
    expected = cell.compress_norm(cell.compress(torch.relu(torch.cat(states[2:], 1))))
    assert torch.allclose(found, expected, atol=1e-10)
    found.square().sum().backward()
    assert (weights.grad != 0).all()


@pytest.mark.parametrize("kernels", ["reference", "fused"])
@pytest.mark.parametrize("name", SPACES)
def test_derived_equals_the_one_hot_supernet(name, kernels):
    space = SPACES[name]
    network, alphas = supernet(space, choice=KernelChoice.all(kernels)), drawn_alphas(space)
    architecture = Architecture(MACRO, MACRO.all_on(), derive_cells(alphas))
    derived = supernet(architecture.space(), 1, KernelChoice.all(kernels))
    inherit_weights(derived, network)
    x = images(MACRO).double()
    one, derived_maps = network(x, MACRO.all_on(), alphas.argmax()), derived(x)
    weights = [{n: EdgeMixture(m.weights, None, m.operations) for n, m in b.items()} for b in alphas.argmax()]
    assert torch.allclose(one, derived_maps, atol=1e-10)
    assert torch.allclose(network(x, MACRO.all_on(), weights), derived_maps, atol=1e-10)


@pytest.mark.parametrize("relaxation", ["soft", "straight_through", "one_op"])
@pytest.mark.parametrize("name", [*CHOICES, "uneven"])
def test_relaxations_reach_every_candidate_and_nothing_else(name, relaxation):
    space = SPACES[name]
    network, alphas = supernet(space), drawn_alphas(space)
    mixtures = alphas.sample(GumbelSettings(relaxation, skip_dropout=0.2), 0.5, generator(0, "gumbel"))
    heatmaps = network(images(MACRO).double(), MACRO.all_on(), mixtures)
    (heatmaps.square().mean() * 1e4).backward()
    assert heatmaps.isfinite().all()
    for key, alpha in alphas.alphas.items():
        for edge, columns in enumerate(alphas.columns[key]):
            absent = [k for k in range(len(alphas.operations)) if k not in columns]
            assert (alpha.grad[edge, absent] == 0).all()
            assert len(columns) == 1 or (alpha.grad[edge, columns] != 0).any()
    for branch, cells in enumerate(mixtures):
        for cell, mixture in cells.items():
            columns = alphas.columns[alphas.name(branch, cell)]
            on = (mixture.weights != 0).double().sum(-1)
            assert on.max() <= max(map(len, columns))
            if relaxation == "one_op":
                assert all(op in allowed for op, allowed in zip(mixture.chosen, columns, strict=True))


@pytest.mark.parametrize("name", ["two of six", "six and two", "uneven"])
def test_multiply_adds_by_hand_are_fvcores(name):
    pytest.importorskip("fvcore")
    from autopose.report.flops import count

    space = SPACES[name]
    network, cells = PoseNetwork(space, 3), [branch.cells() for branch in space.branches]
    assert count(network, (16, 16), MACRO.all_on()).macs[""] == count_macs(MACRO, MACRO.all_on(), cells, (16, 16), 3)
    alphas = ArchitectureParameters(space)
    derived = Architecture(MACRO, MACRO.all_on(), cells_of(alphas, alphas.random_ops(generator(0, "test"))))
    expected = count_macs(MACRO, derived.macro, derived.cells, (16, 16), 3)
    assert count(PoseNetwork(derived.space(), 3), (16, 16)).macs[""] == expected


def test_nothing_absent_is_built():
    network = PoseNetwork(SPACES["two of six"], 3)
    cells = [cell for cell in network.modules() if isinstance(cell, Cell)]
    assert all(cell.conv1 is None and cell.conv5 is None and len(cell.foreign) == 0 for cell in cells)
    assert all(len(cell.conv3) == cell.space.num_edges for cell in cells)


def test_normalisation_inside_follows_the_networks_state():
    network = PoseNetwork(SearchSpace.full(MACRO, operations=OUTSIDE[:1]), 3)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and all(type(m) is BatchNorm2d and m.state is network.state for m in norms)
    before = {name: value.clone() for name, value in network.named_buffers()}
    alphas = ArchitectureParameters(network.space)
    network.train()(images(MACRO), MACRO.all_on(), alphas.mean())
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_running_statistics_of_the_chosen_operations_alone_move():
    space = SearchSpace.full(MACRO, operations=SETS["three and two"])
    network, alphas = supernet(space), drawn_alphas(space)
    network.set_norm("track")
    before = {name: value.clone() for name, value in network.named_buffers()}
    mixtures = alphas.argmax()
    network(images(MACRO).double(), MACRO.all_on(), mixtures)
    cell, chosen = network.modules_[0].branches["0"].individual_1, mixtures[0]["individual_1"].chosen
    old = before["modules_.0.branches.0.individual_1.running_var"]
    for row, (edge, op) in enumerate(cell.rows):
        taken = space.operations[chosen[edge]] == OPS[op] and OPS[op] != "skip_connect"
        assert torch.equal(cell.running_var[row], old[row]) != taken


def test_one_operation_leaves_beta_to_search():
    """The ablation of all operations but one: α has no choice, the network is a supernet all the same."""
    network = PoseNetwork(SPACES["one from outside"], 3)
    alphas = ArchitectureParameters(network.space)
    assert network.is_supernet and network.train().state.mode == "batch"
    assert network(images(MACRO), MACRO.all_on(), alphas.mean()).isfinite().all()
    assert all(value == 0 for value in alphas.entropy().values())


def test_the_log_says_how_cells_run():
    assert PoseNetwork(SearchSpace.full(MACRO), 3).describe() == []
    (line,) = PoseNetwork(SPACES["two of six"], 3).describe()
    kinds = "aggregation, individual_1, individual_2"
    assert line == f"{kinds}: built-in operations one by one by the single_edge kernel, node by node"
    (line,) = PoseNetwork(SPACES["six and two"], 3).describe()
    assert "mixed_edge kernel" in line and all(name in line for name in OUTSIDE)


@pytest.mark.parametrize(("name", "expected"), [("SHRINK", "must keep its input's shape"), ("NO_MODULE", "nn.Module")])
def test_an_operation_that_does_not_fit_is_one_sentence(name, expected):
    space = SearchSpace.full(MACRO, operations=[f"{__name__}:{name}"])
    with pytest.raises(UserError, match=expected):
        PoseNetwork(space, 3)(images(MACRO), MACRO.all_on(), ArchitectureParameters(space).mean())


def test_skips_capped_where_an_edge_has_nothing_else():
    individual = CellSpace(1, 2, (("skip_connect",), ("skip_connect", "conv_1x1"), ("skip_connect", OUTSIDE[0])))
    branch = BranchSpace(individual, individual, None)
    alphas = ArchitectureParameters(SearchSpace(MacroSpace((4,), 1, 1, 2, 1, 4, aggregation="concat"), (branch,)))
    with torch.no_grad():
        alphas.alphas["individual_0"][:, alphas.column("skip_connect")] = 9.0
    assert derive_cells(alphas, 0)[0]["individual_1"].ops == ("skip_connect", "conv_1x1", OUTSIDE[0])
    assert all(value == value for value in alphas.entropy().values())


def test_operations_are_looked_up_once():
    assert operation(OUTSIDE[0]) is DEPTHWISE and operation("conv_3x3").macs(4) == 144
    with pytest.raises(UserError, match="#0072b2"):
        Operation("x", "x", "blue", lambda c: 0)
