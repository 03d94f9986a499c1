"""Hand-made and random architectures, bands and widths."""

import pytest

from autopose.errors import UserError
from autopose.space import MacroSpace, builtin_architecture
from autopose.space.builtin import Size, random_architecture, width_for

SMALL = MacroSpace((8, 16, 32), 3, 1, 2, 1, 16)
PAPER = MacroSpace()
SIZE = Size((64, 96), 17)


def test_hrnet_adds_a_branch_a_stage_and_sums_them():
    found = builtin_architecture("hrnet", SMALL)
    assert str(found.macro) == "[100 110 111]"
    assert found.cells[0]["individual_1"].ops == ("conv_3x3", "skip_connect", "conv_3x3")
    assert found.cells[1]["aggregation"].ops == ("skip_connect",) * 3
    assert str(builtin_architecture("hrnet", PAPER).macro) == "[1100 1110 1111]"


def test_bounds_of_a_search_leave_hand_made_architectures_alone():
    bounded = MacroSpace((8, 16, 32), 3, 1, 2, 1, 16, min_active=2)
    assert str(builtin_architecture("single_scale", bounded).macro) == "[100 100 100]"
    assert all(sum(row) >= 2 for row in builtin_architecture("random", bounded).macro.rows)


def test_a_random_architecture_is_its_seeds_alone_and_within_its_band():
    assert random_architecture(SMALL, 3) == random_architecture(SMALL, 3) != random_architecture(SMALL, 4)
    band = (0.02, 0.022)
    found = [random_architecture(SMALL, seed, band=band, size=SIZE) for seed in range(8)]
    assert all(band[0] <= SIZE.gmacs(each) <= band[1] for each in found)
    assert len({str(each.to_json()["cells"]) for each in found}) == 8


def test_an_empty_band_is_refused_with_what_there_is():
    with pytest.raises(UserError, match=r"no architecture of 5 to 6 GMACs among 10000 random ones, which have 0\.0"):
        random_architecture(SMALL, 0, band=(5, 6), size=SIZE)


def test_widths_reach_a_size_in_multiples_of_four_and_whole_factors_stay_exact():
    hrnet = builtin_architecture("hrnet", SMALL)
    target = SIZE.gmacs(builtin_architecture("all_on_conv3", SMALL))
    width = width_for(hrnet, target, SIZE)
    channels = hrnet.macro_space.widened(width).channels
    assert abs(Size((64, 96), 17, width).gmacs(hrnet) / target - 1) < 0.1
    assert width == int(width) or all(c % 4 == 0 for c in channels)
    assert SMALL.widened(2).channels == SMALL.widened(2.0).channels == (16, 32, 64)
    assert SMALL.widened(1.3).channels == (12, 20, 40)
    with pytest.raises(UserError, match="no width brings this architecture within a tenth of 1e-05 GMACs"):
        width_for(hrnet, 1e-5, SIZE)
