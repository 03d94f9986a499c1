"""The search space as data: cells, β, bounds, sharing of α, its size."""

import math
from itertools import product

import pytest

from autopose.errors import UserError
from autopose.space import OPS, CellSpace, Genotype, MacroArchitecture, MacroSpace, SearchSpace


def test_default_space_is_the_papers():
    macro = MacroSpace()
    assert macro.channels == (16, 32, 64, 128) and macro.scales == (4, 8, 16, 32)
    assert (macro.num_stages, macro.modules_per_stage, macro.num_modules, macro.num_decisions) == (3, 2, 6, 3)
    assert CellSpace.full(1, macro.nodes_individual).num_edges == 10
    assert CellSpace.full(4, macro.nodes_aggregation).num_edges == 9
    assert SearchSpace.full(macro).log10_size() == pytest.approx(math.log10(6**76 * 2**12))
    assert SearchSpace.full(macro).log10_size() == pytest.approx(62.75, abs=0.01)


def test_operations_are_eq_4s():
    assert OPS == ("conv_1x1", "conv_3x3", "conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")


@pytest.mark.parametrize(("inputs", "nodes"), [(1, 4), (4, 2), (1, 1), (5, 3)])
def test_edges_are_node_major_inputs_first(inputs, nodes):
    space = CellSpace.full(inputs, nodes)
    expected = [(i, j) for i in range(nodes) for j in range(inputs + i)]
    assert list(space.edges()) == expected and space.num_edges == len(expected) == len(space.candidates)


@pytest.mark.parametrize(("sharing", "edges"), [("branch", 3 * (3 + 3)), ("all", 3 + 3), ("cell", 3 * (3 + 3 + 3))])
def test_size_counts_every_alpha_once(sharing, edges):
    """Three branches, individual cells of 2 nodes (3 edges), aggregation cells of 1 node (3 edges)."""
    macro = MacroSpace((4, 4, 4), 2, 1, 2, 1)
    space = SearchSpace.full(macro, sharing)
    assert sum(cell.num_edges for cell in space.alpha_spaces().values()) == edges
    assert space.log10_size() == pytest.approx(math.log10(6**edges * 8**2))


def test_size_follows_bounds_fixed_beta_and_derivation():
    macro = MacroSpace((4, 4), 1, 1, 1, 1, min_active=1)
    assert SearchSpace.full(macro).log10_size() == pytest.approx(math.log10(6 ** (2 * (1 + 2)) * 3))
    fixed = SearchSpace.full(macro, beta=macro.all_on())
    assert fixed.log10_size() == pytest.approx(math.log10(6**6))


def test_alpha_sharing_maps_cells():
    macro = MacroSpace((4, 4), 1, 1, 2, 2)
    keys = {
        mode: [
            [SearchSpace.full(macro, mode).alpha_key(b, c) for c in ("individual_1", "individual_2", "aggregation")]
            for b in (0, 1)
        ]
        for mode in ("branch", "all", "cell")
    }
    for mode, same_cells, same_branches in (("branch", True, False), ("all", True, True), ("cell", False, False)):
        first, second = keys[mode]
        assert (first[0] == first[1]) is same_cells
        assert (first == second) is same_branches
        assert first[2] not in first[:2]
    with pytest.raises(UserError, match="alpha_sharing"):
        SearchSpace.full(macro, "stage")


@pytest.mark.parametrize(("low", "high"), [(0, 0), (1, 0), (0, 1), (2, 2), (3, 3), (1, 2)])
def test_allowed_vectors_respect_bounds(low, high):
    macro = MacroSpace((4, 4, 4), min_active=low, max_active=high)
    expected = [v for v in product((False, True), repeat=3) if low <= sum(v) <= (high or 3)]
    assert list(macro.allowed()) == expected
    for row in product((False, True), repeat=3):
        beta = MacroArchitecture((row,) * 3)
        if row in expected:
            macro.check(beta)
        else:
            with pytest.raises(UserError, match="bounds"):
                macro.check(beta)


@pytest.mark.parametrize(("sharing", "decisions"), [("stage", [0, 0, 1, 1, 2, 2]), ("module", [0, 1, 2, 3, 4, 5])])
def test_beta_by_stage_or_module(sharing, decisions):
    macro = MacroSpace(beta_sharing=sharing)
    assert [macro.decision_of(m) for m in range(6)] == decisions
    assert macro.num_decisions == len(set(decisions)) == len(macro.all_on().rows)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(channels=()),
        dict(channels=(4,) * 6),
        dict(channels=(4, 0)),
        dict(channels=(4, True)),
        dict(num_stages=0),
        dict(nodes_individual=1.5),
        dict(stem_channels=10**6),
        dict(aggregation="sum"),
        dict(downsample="max_pool"),
        dict(head="mean"),
        dict(beta_sharing="all"),
        dict(min_active=5),
        dict(min_active=-1),
        dict(min_active=3, max_active=2),
        dict(max_active=5),
    ],
    ids=str,
)
def test_a_wrong_macro_space_is_one_sentence(wrong):
    with pytest.raises(UserError) as error:
        MacroSpace(**wrong)
    assert "\n" not in str(error.value) and len(str(error.value)) > 20


@pytest.mark.parametrize("rows", [[[1, 1]], [[1, 1, 1]] * 3, [[1], [1], [1]], [[1, 1, 1], [1, 1], [1, 1]], []])
def test_beta_of_another_shape_is_refused(rows):
    with pytest.raises(UserError, match="beta must have 3 rows of 2"):
        MacroSpace((4, 4)).check(MacroArchitecture.of(rows))


def test_image_size_must_be_a_multiple_of_the_coarsest_stride():
    macro = MacroSpace((4, 4, 4, 4))
    macro.check_image_size((192, 256))
    for size in ((192, 240), (16, 32), (33, 64), (0, 32)):
        with pytest.raises(UserError, match="multiple of 32"):
            macro.check_image_size(size)


def test_genotype_checks_its_edges():
    with pytest.raises(UserError, match="3 edges"):
        Genotype(1, 2, ("skip_connect",) * 2)
    with pytest.raises(UserError, match="conv_1x1, .* not 'sep_conv'"):
        Genotype(1, 1, ("sep_conv",))
    ops = ("conv_5x5", "skip_connect", "conv_1x1")
    genotype = Genotype(1, 2, ops)
    assert CellSpace.fixed(genotype).genotype == genotype
    assert CellSpace.full(1, 2).genotype is None


def test_widened_multiplies_branches_only():
    macro = MacroSpace((4, 6), stem_channels=8)
    assert macro.widened(2).channels == (8, 12) and macro.widened(2).stem_channels == 8


def test_channels_may_come_as_a_list():
    macro = MacroSpace([4, 8])
    assert macro == MacroSpace((4, 8)) and hash(macro) == hash(MacroSpace((4, 8)))
