"""The network folded for inference: the same heatmaps in every kind of space, and nothing that only training needs."""

import pytest
import torch
from networks import TINY, images, supernet

from autopose.errors import UserError
from autopose.kernels import KernelChoice
from autopose.models import PoseNetwork
from autopose.models.frozen import FrozenNetwork
from autopose.space import MacroSpace, builtin_architecture

SPACES = {
    "cells": TINY,
    "concat": MacroSpace((4, 6, 8), 2, 1, 2, 1, 4, aggregation="concat"),
    "pooled": MacroSpace((4, 6, 8), 2, 2, 2, 2, 4, downsample="avg_pool"),
    "sum head": MacroSpace((4, 8), 2, 1, 1, 2, 4, head="sum"),
    "one branch": MacroSpace((4,), 1, 1, 3, 1, 4),
    "stem as wide": MacroSpace((4, 6), 1, 1, 1, 1, 4),
}


def trained(architecture, affine=True, choice=None, joints=3) -> PoseNetwork:
    """A network whose running statistics, scales and shifts are none of the initial ones."""
    torch.manual_seed(0)
    network = PoseNetwork(architecture.space(), joints, affine, choice)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("norm_weight", "norm_bias")) or parameter.ndim == 1:
                parameter.copy_(torch.randn(parameter.shape) * 0.5 + 0.5)
        network.head.predict.weight.mul_(300)
        for seed in range(3):
            network(images(architecture.macro_space, 4, seed))
    return network.eval()


def agree(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.abs().max() > 0.1 and (one - other).abs().max() <= 1e-4 * one.abs().max().clamp(max=1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("space", SPACES)
def test_heatmaps_are_those_of_the_network(space, seed):
    network = trained(builtin_architecture("random", SPACES[space], seed), affine=seed % 2 == 0)
    x = images(SPACES[space], 3, 7)
    with torch.inference_mode():
        assert agree(network(x), network.for_inference()(x))


@pytest.mark.parametrize("name", ["all_on_conv3", "single_scale"])
def test_hand_written_architectures(name):
    network = trained(builtin_architecture(name, TINY))
    with torch.inference_mode():
        assert agree(network(images()), network.for_inference()(images()))


def test_the_choice_of_kernels_changes_nothing_and_a_batch_is_its_images():
    architecture = builtin_architecture("random", TINY, 11)
    networks = [trained(architecture, choice=KernelChoice.all(c)).for_inference() for c in ("reference", "auto")]
    networks[1].load_state_dict(networks[0].state_dict())
    x = images(count=3)
    with torch.inference_mode():
        found = [network(x) for network in networks]
        alone = torch.cat([networks[0](x[n : n + 1]) for n in range(3)])
    assert torch.equal(*found) and torch.allclose(found[0], alone, atol=1e-5)


def test_it_is_a_copy_and_leaves_the_network_as_it_was():
    network = trained(builtin_architecture("random", TINY, 11))
    folded = network.train().for_inference()
    expected = folded(images())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert torch.equal(folded(images()), expected) and network.training and network.state.mode == "track"
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_there_is_no_normalisation_left_and_it_can_be_traced():
    network = trained(builtin_architecture("random", TINY, 11)).for_inference()
    assert not any("Norm" in type(module).__name__ for module in network.modules())
    traced = torch.jit.trace(network, images())
    assert torch.allclose(traced(images(count=5)), network(images(count=5)), atol=1e-5)


def test_a_supernet_is_refused():
    with pytest.raises(ValueError, match="derived network"):
        supernet().for_inference()


def test_frozen_after_some_calls_it_is_the_same_function_at_any_batch_and_size():
    folded = trained(builtin_architecture("random", TINY, 5)).for_inference()
    frozen = FrozenNetwork(folded, after=2)
    with torch.inference_mode():
        for call, count in enumerate((1, 3, 2, 1, 5)):
            x = images(count=count, seed=call)
            assert agree(folded(x), frozen(x)) and (frozen.frozen is not None) == (call >= 2)
        larger = torch.cat([x, x], -1)
        assert agree(folded(larger), frozen(larger)) and frozen.frozen is None
        with pytest.raises(UserError, match="multiple"):
            frozen(x[..., 1:])


def test_in_bf16_it_is_frozen_as_well_and_autocast_changes_nothing():
    folded = trained(builtin_architecture("random", TINY, 5)).for_inference()
    with torch.inference_mode():
        exact = [folded(images(count=2, seed=call)) for call in range(4)]
        half = FrozenNetwork(folded, after=2, half=True)
        for call, truth in enumerate(exact):
            with torch.autocast("cpu", torch.bfloat16, enabled=call % 2 == 1):
                found = half(images(count=2, seed=call))
            assert found.dtype == torch.float32 and (half.frozen is not None) == (call >= 2)
            assert (found - truth).abs().max() < 0.05 * truth.abs().max()
