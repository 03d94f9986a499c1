"""fvcore's count equals the count by hand, for every space and every implementation of the kernels."""

import pytest
import torch
from torch import library

from autopose.kernels import KernelChoice
from autopose.models import PoseNetwork
from autopose.report.flops import count, format_table, tabulate
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace, builtin_architecture
from autopose.space.macs import count_macs

CHANNELS = (4, 6, 8, 10, 12)
SMALL = dict(num_stages=1, modules_per_stage=1, nodes_individual=2, nodes_aggregation=1, stem_channels=8)
SPACES = {
    **{f"{b}_branches": MacroSpace(CHANNELS[:b], **SMALL) for b in range(1, 6)},
    "two_stages": MacroSpace(CHANNELS[:2], **{**SMALL, "num_stages": 2, "modules_per_stage": 2}),
    "concat_aggregation": MacroSpace(CHANNELS[:3], aggregation="concat", **SMALL),
    "avg_pool_down": MacroSpace(CHANNELS[:4], downsample="avg_pool", **SMALL),
    "sum_head": MacroSpace(CHANNELS[:3], head="sum", **SMALL),
    "beta_by_module": MacroSpace(CHANNELS[:2], beta_sharing="module", **{**SMALL, "modules_per_stage": 2}),
    "stem_as_wide_as_branch": MacroSpace((8, 4), **SMALL),
}
JOINTS = 5


def image_size(macro: MacroSpace) -> tuple[int, int]:
    return macro.scales[-1], 2 * macro.scales[-1]


def parameters_by_torch(network: PoseNetwork) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", SPACES)
def test_supernet_equals_hand_count(name):
    macro = SPACES[name]
    network = PoseNetwork(SearchSpace.full(macro), JOINTS)
    row = [b != 1 for b in range(macro.num_branches)]
    beta = MacroArchitecture.of([row] * macro.num_decisions)
    found = count(network, image_size(macro), beta)
    assert found.macs[""] == count_macs(macro, beta, None, image_size(macro), JOINTS)
    assert found.parameters[""] == parameters_by_torch(network)


@pytest.mark.parametrize("name", SPACES)
def test_derived_network_equals_hand_count(name):
    macro = SPACES[name]
    architecture = builtin_architecture("random", macro, seed=len(name))
    space = architecture.space(width=2)
    network = PoseNetwork(space, JOINTS)
    found = count(network, image_size(macro))
    assert found.macs[""] == count_macs(space.macro, architecture.macro, architecture.cells, image_size(macro), JOINTS)
    assert found.parameters[""] == parameters_by_torch(network)


def test_a_convolution_counted_by_its_definition():
    """Stem of a one-branch space without active branches: every convolution written out."""
    macro = MacroSpace((4,), **SMALL)
    beta = MacroArchitecture(((False,),))
    found = count(PoseNetwork(SearchSpace.full(macro), JOINTS), (16, 8), beta)
    half, quarter = 8 * 4, 4 * 2
    stem = 3 * 8 * 9 * half + 8 * 8 * 9 * quarter + (8 * 2 + 2 * 2 * 9 + 2 * 4 + 8 * 4) * quarter
    assert found.macs["stem"] == stem
    assert found.macs["head"] == 4 * JOINTS * 9 * quarter
    assert found.macs[""] == stem + found.macs["head"]


@pytest.mark.parametrize("implementation", ["reference", "aten", "triton"])
def test_every_implementation_counts_the_same(implementation):
    if implementation == "triton":
        pytest.importorskip("triton")
    macro = MacroSpace((4, 8), 1, 1, 2, 1, 4, head="sum", downsample="avg_pool")
    space = SearchSpace.full(macro)
    single = "aten" if implementation == "triton" else implementation
    choice = KernelChoice(mixed_edge=implementation, single_edge=single, resample_sum=implementation)
    found = count(PoseNetwork(space, JOINTS, choice=choice), (8, 8), macro.all_on())
    assert found.macs[""] == count_macs(macro, macro.all_on(), None, (8, 8), JOINTS)
    architecture = builtin_architecture("random", macro, seed=3)
    derived = count(PoseNetwork(architecture.space(), JOINTS, choice=choice), (8, 8))
    assert derived.macs[""] == count_macs(macro, architecture.macro, architecture.cells, (8, 8), JOINTS)


def test_counting_leaves_the_network_as_it_was(recwarn):
    macro = SPACES["2_branches"]
    network = PoseNetwork(SearchSpace.full(macro), JOINTS)
    network.set_norm("track")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count(network, image_size(macro), macro.all_on())
    assert network.training and network.state.mode == "track"
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not recwarn.list


def test_an_operator_without_a_rule_is_refused(monkeypatch):
    import autopose.models.cell as cell

    monkeypatch.setattr(cell.kernels, "mixed_cell", lambda inputs, *_, **__: unruled(inputs[0]))
    macro = SPACES["1_branches"]
    with pytest.raises(RuntimeError, match="autopose::unruled"):
        count(PoseNetwork(SearchSpace.full(macro), JOINTS), (4, 4), macro.all_on())


@library.custom_op("autopose::unruled", mutates_args=())
def unruled(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def test_table_adds_up():
    macro = SPACES["two_stages"]
    beta = MacroArchitecture.of([[1, 0], [0, 1]])
    found = count(PoseNetwork(SearchSpace.full(macro), JOINTS), image_size(macro), beta)
    for counts in (found.macs, found.parameters):
        rows = dict(tabulate(macro, counts))
        assert rows["total"][-1] == counts[""]
        assert rows["total"][-1] == sum(row[-1] for name, row in rows.items() if name != "total")
        assert all(row[-1] == sum(row[:-1]) for name, row in rows.items() if name.startswith("stage"))
    table = dict(tabulate(macro, found.macs))
    assert [bool(n) for n in table["stage 1"]] == [True, False, True, True]
    assert [bool(n) for n in table["stage 2"]] == [False, True, True, True]
    lines = format_table(macro, found.macs, 1e9, "GMACs").splitlines()
    assert lines[0].split() == ["GMACs", "4x", "8x", "resample", "total"]
    assert len(lines) == 1 + len(rows) and len({len(line) for line in lines}) == 1
