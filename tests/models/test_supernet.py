"""Supernet and derived network are one class; branches that are off take no part; α is seen by every operation."""

from itertools import product

import pytest
import torch
from networks import REFERENCE, TINY, images, random_mixtures, supernet
from torch.utils._python_dispatch import TorchDispatchMode

from autopose.kernels import KernelChoice
from autopose.models import PoseNetwork
from autopose.nas import ArchitectureParameters, inherit_weights
from autopose.space import OPS, Architecture, MacroArchitecture, MacroSpace, builtin_architecture

VARIANTS = {
    "default": TINY,
    "concat": MacroSpace((4, 6), 2, 1, 2, 1, 4, aggregation="concat"),
    "avg_pool": MacroSpace((4, 6, 8), 1, 1, 1, 1, 4, downsample="avg_pool"),
    "sum": MacroSpace((4, 6), 1, 2, 1, 2, 4, head="sum"),
    "by_module": MacroSpace((4, 6), 1, 2, 1, 1, 4, beta_sharing="module"),
}


def architecture_of(macro: MacroSpace, seed: int, beta=None) -> Architecture:
    drawn = builtin_architecture("random", macro, seed)
    return Architecture(macro, macro.all_on() if beta is None else beta, drawn.cells)


def one_hot(network: PoseNetwork, architecture: Architecture, soft: bool):
    """The supernet's mixtures that pick the architecture's operations, as six weights or as the one operation."""
    alphas = ArchitectureParameters(network.space)
    ops = {
        alphas.name(b, n): [OPS.index(op) for op in c.ops]
        for b, cells in enumerate(architecture.cells)
        for n, c in cells.items()
    }
    mixtures = alphas.fixed(ops)
    if not soft:
        return mixtures
    return [{name: type(m)(m.weights, None) for name, m in branch.items()} for branch in mixtures]


def derived_from(network: PoseNetwork, architecture: Architecture, choice=REFERENCE, affine=None) -> PoseNetwork:
    derived = PoseNetwork(architecture.space(1), network.num_joints, affine, choice)
    inherit_weights(derived, network)
    return derived


@pytest.mark.parametrize("soft", [True, False], ids=["soft", "one_op"])
@pytest.mark.parametrize("mode", ["track", "batch", "running"])
@pytest.mark.parametrize("name", VARIANTS)
def test_one_hot_supernet_is_the_derived_network_to_the_bit(name, mode, soft):
    macro = VARIANTS[name]
    network, x = supernet(macro), images(macro)
    network.set_norm("track")
    network(images(macro, seed=5), macro.all_on(), random_mixtures(network)[1])
    for seed in (1, 2):
        architecture = architecture_of(macro, seed)
        derived = derived_from(network, architecture)
        assert not derived.is_supernet
        derived.set_norm(mode)
        network.set_norm(mode)
        mixtures = one_hot(network, architecture, soft)
        assert torch.equal(network(x, architecture.macro, mixtures), derived(x))


@pytest.mark.parametrize("affine", [True, False])
def test_one_hot_equals_derived_with_branches_off_and_any_affine(affine):
    architecture = architecture_of(TINY, 3, MacroArchitecture.of([[1, 0, 1], [0, 1, 1]]))
    network, x = supernet(affine=affine), images()
    derived = derived_from(network, architecture, affine=affine)
    for net in (network, derived):
        net.set_norm("batch")
    for soft in (True, False):
        assert torch.equal(network(x, architecture.macro, one_hot(network, architecture, soft)), derived(x))


def test_one_op_moves_the_running_statistics_of_its_operations_only():
    architecture = architecture_of(TINY, 4)
    network, x = supernet(), images()
    derived = derived_from(network, architecture)
    network.set_norm("track")
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(x, architecture.macro, one_hot(network, architecture, soft=False))
    derived(x)
    ops = [OPS.index(op) for op in architecture.cells[1]["individual_1"].ops]
    cell, own = (net.modules_[0].branches["1"].individual_1 for net in (network, derived))
    for edge, op in enumerate(ops):
        for norm in range(5):
            old = before["modules_.0.branches.1.individual_1.running_mean"][edge, norm]
            moved = own.running_mean[edge] if norm == op else old
            assert torch.equal(cell.running_mean[edge, norm], moved)
            assert norm == op or not old.any()


def test_fused_derived_network_agrees_with_reference():
    architecture, x = architecture_of(TINY, 6), images()
    network = supernet()
    plain = derived_from(network, architecture)
    fused = derived_from(network, architecture, KernelChoice.all("fused" if not x.is_cuda else "auto"))
    assert torch.allclose(plain(x), fused(x), rtol=1e-3, atol=1e-4)


def test_a_derived_network_of_another_width_takes_no_weights():
    architecture = architecture_of(TINY, 6)
    with pytest.raises(ValueError, match="no counterpart"):
        inherit_weights(PoseNetwork(architecture.space(2), 3), supernet())


class Convolutions(TorchDispatchMode):
    """Counts the convolutions and pools that run."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += any(part in str(func) for part in ("convolution", "avg_pool", "max_pool"))
        return func(*args, **(kwargs or {}))


def test_an_inactive_branch_takes_no_part():
    """No gradient, no BN update, no call of any of its modules, and not one operation more than its absence."""
    network, x = supernet(), images()
    network.set_norm("track")
    alphas, _ = random_mixtures(network)
    beta = MacroArchitecture.of([[1, 0, 1], [1, 0, 1]])
    called = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda *_, name=name: called.append(name))
    before = {name: value.clone() for name, value in network.named_buffers()}
    with Convolutions() as ran:
        network(x, beta, alphas.mean()).square().mean().backward()
    off = ".branches.1."
    assert not [name for name in called if off in name + "."]
    for name, value in network.named_buffers():
        if name.startswith("modules_"):
            assert torch.equal(value, before[name]) == (off in name), name
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (off in name), name
        if parameter.grad is not None:
            assert parameter.grad.abs().sum() > 0, name
    for name, alpha in alphas.alphas.items():
        assert name.endswith("_1") == (not alpha.grad.any())

    architecture = Architecture(TINY, beta, builtin_architecture("random", TINY, 0).cells)
    lacking = PoseNetwork(architecture.space(), 3, choice=REFERENCE)
    assert not any(off in name for name, _ in lacking.named_parameters())
    with Convolutions() as fewer:
        network(x, MacroArchitecture.of([[1, 0, 1], [0, 0, 0]]), alphas.mean()).square().mean().backward()
    with Convolutions() as none:
        network(x, MacroArchitecture.of([[0, 0, 0], [0, 0, 0]]), alphas.mean()).square().mean().backward()
    assert ran.count - fewer.count == fewer.count - none.count > 0


def test_other_branches_still_read_an_inactive_one():
    """Fig. 3: the aggregation cell of an active branch sees the tensor of a branch that is off."""
    network, x = supernet(MacroSpace((4, 6), 1, 1, 1, 1, 4)), images(MacroSpace((4, 6)))
    network.set_norm("batch")
    features = [f.detach().requires_grad_() for f in network.stem(x)]
    _, mixtures = random_mixtures(network)
    out = network.modules_[0](features, [True, False], mixtures)
    out[0].square().sum().backward()
    assert features[1].grad.abs().sum() > 0 and out[1] is features[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_alpha_gets_a_gradient_through_every_operation_of_every_active_edge(name):
    macro = VARIANTS[name]
    network, x = supernet(macro), images(macro)
    network.set_norm("batch")
    _, mixtures = random_mixtures(network)
    leaves = [{n: type(m)(m.weights.detach().requires_grad_()) for n, m in branch.items()} for branch in mixtures]
    network(x, macro.all_on(), leaves).square().mean().backward()
    for branch in leaves:
        for mixture in branch.values():
            assert (mixture.weights.grad != 0).all()


@pytest.mark.parametrize("row", list(product((0, 1), repeat=3)), ids=str)
def test_any_subset_of_branches(row):
    network = supernet()
    _, mixtures = random_mixtures(network)
    beta = MacroArchitecture.of([row, row[::-1]])
    heatmaps = network(images(), beta, mixtures)
    assert heatmaps.shape == (2, 3, 8, 4) and heatmaps.isfinite().all()
    active = {id(p) for p in network.active_parameters(beta)}
    heatmaps.square().mean().backward()
    assert active == {id(p) for p in network.parameters() if p.grad is not None}
    derived = PoseNetwork(Architecture(TINY, beta, builtin_architecture("random", TINY).cells).space(), 3)
    assert derived(images()).shape == (2, 3, 8, 4)


@pytest.mark.parametrize("branches", range(1, 6))
@pytest.mark.parametrize("joints", [1, 14])
def test_one_to_five_branches_any_joints(branches, joints):
    macro = MacroSpace((3, 4, 5, 6, 7)[:branches], 1, 1, 1, 1, 4)
    network = supernet(macro, joints)
    _, mixtures = random_mixtures(network)
    side = macro.scales[-1]
    assert network(images(macro), macro.all_on(), mixtures).shape == (2, joints, side // 2, side // 4)


@pytest.mark.parametrize("factor", [(1, 1), (1, 3), (5, 2), (3, 3)], ids=str)
def test_any_size_that_is_a_multiple_of_the_coarsest_stride(factor):
    network = supernet()
    _, mixtures = random_mixtures(network)
    height, width = (16 * f for f in factor)
    heatmaps = network(torch.randn(3, 3, height, width), TINY.all_on(), mixtures)
    assert heatmaps.shape == (3, 3, height // 4, width // 4) and heatmaps.isfinite().all()


def test_every_operation_reaches_the_output():
    """Six supernets that differ in one edge's operation give six different outputs."""
    network, x = supernet(), images()
    network.set_norm("batch")
    base = architecture_of(TINY, 9)
    outputs = []
    for op in range(len(OPS)):
        mixtures = one_hot(network, base, soft=False)
        cell = mixtures[2]["aggregation"]
        chosen = (op, *cell.chosen[1:])
        weights = torch.eye(len(OPS))[list(chosen)]
        mixtures[2]["aggregation"] = type(cell)(weights, chosen)
        outputs.append(network(x, base.macro, mixtures))
    assert all(not torch.equal(a, b) for i, a in enumerate(outputs) for b in outputs[:i])
