"""Eqs. 1 to 4 against loops over pixels."""

import explicit
import numpy as np
import pytest
import torch
from networks import random_mixtures, supernet

from autopose.space import MacroSpace

MACRO = MacroSpace((2, 3), 1, 1, 2, 2, 4)


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def cell_of(module, inputs, mixture):
    convs = [array(w) for w in (module.conv1, module.conv3, module.conv5)]
    weights, compress = array(mixture.weights), array(module.compress.weight)
    return explicit.cell(inputs, module.space.num_nodes, convs, weights, compress)


@pytest.fixture(scope="module")
def network():
    net = supernet(MACRO).double()
    net.set_norm("batch")
    return net


def test_individual_cell_is_eq_2(network):
    _, mixtures = random_mixtures(network)
    cell, mixture = network.modules_[0].branches["0"].individual_1, mixtures[0]["individual_1"]
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64)
    assert np.allclose(array(cell([x], mixture)), cell_of(cell, [array(x)], mixture), atol=1e-10)


def test_aggregation_cell_is_eq_3(network):
    _, mixtures = random_mixtures(network)
    cell, mixture = network.modules_[0].branches["1"].aggregation, mixtures[1]["aggregation"]
    inputs = [torch.randn(2, 3, 2, 3, dtype=torch.float64) for _ in range(2)]
    expected = cell_of(cell, [array(x) for x in inputs], mixture)
    assert np.allclose(array(cell(inputs, mixture)), expected, atol=1e-10)


@pytest.mark.parametrize("active", [(1, 1), (1, 0), (0, 1), (0, 0)], ids=str)
def test_module_is_eq_1_and_fig_3(network, active):
    """C_M o C_I2 o C_I1 where β is 1, the tensor itself where it is 0; every C_M reads both branches."""
    _, mixtures = random_mixtures(network)
    module = network.modules_[0]
    features = [torch.randn(2, 2, 4, 2, dtype=torch.float64), torch.randn(2, 3, 2, 1, dtype=torch.float64)]
    middle = [array(x) for x in features]
    for b in (0, 1):
        if active[b]:
            branch = module.branches[str(b)]
            for name in ("individual_1", "individual_2"):
                middle[b] = cell_of(getattr(branch, name), [middle[b]], mixtures[b][name])
    expected = list(middle)
    for b in (0, 1):
        if active[b]:
            branch = module.branches[str(b)]
            other = array(branch.resample[str(1 - b)].convs[0].weight)
            if b == 0:
                brought = explicit.upsample(explicit.normalise(explicit.convolve(middle[1], other)), 2)
                inputs = [middle[0], brought]
            else:
                inputs = [explicit.normalise(explicit.convolve(middle[0], other, stride=2)), middle[1]]
            expected[b] = cell_of(branch.aggregation, inputs, mixtures[b]["aggregation"])
    found = module(features, [bool(on) for on in active], mixtures)
    for b in (0, 1):
        assert np.allclose(array(found[b]), expected[b], atol=1e-9)
        assert active[b] or found[b] is features[b]
