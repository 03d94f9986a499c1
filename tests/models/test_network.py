"""Normalisation states, checkpointing of activations, loss, and what a network refuses."""

import pytest
import torch
from networks import REFERENCE, TINY, images, random_mixtures, supernet
from torch import nn

from autopose.errors import UserError
from autopose.kernels import KernelChoice
from autopose.models import Cell, PoseNetwork, joints_mse_loss
from autopose.models.norm import BatchNorm2d, NormState
from autopose.nas import GumbelSettings
from autopose.nas.randomness import generator
from autopose.space import MacroSpace, builtin_architecture


def derived_network(seed: int = 0, **options) -> PoseNetwork:
    torch.manual_seed(seed)
    return PoseNetwork(builtin_architecture("random", TINY, 11).space(), 3, choice=REFERENCE, **options)


def test_batch_norm_is_pytorchs_in_every_state():
    torch.manual_seed(0)
    state, theirs = NormState(), nn.BatchNorm2d(5)
    ours = BatchNorm2d(5, state)
    x = torch.randn(4, 5, 3, 3)
    assert torch.equal(ours(x), theirs(x)) and torch.equal(ours.running_var, theirs.running_var)
    state.mode = "batch"
    kept = ours.running_mean.clone()
    assert torch.equal(ours(x), theirs.train()(x)) and torch.equal(ours.running_mean, kept)
    state.mode = "running"
    theirs.load_state_dict(ours.state_dict(), strict=False)
    assert torch.equal(ours(x), theirs.eval()(x))


def test_states_follow_training_and_evaluation():
    network, derived = supernet(), derived_network()
    assert (network.train().state.mode, network.eval().state.mode) == ("batch", "running")
    assert (derived.train().state.mode, derived.eval().state.mode) == ("track", "running")
    with pytest.raises(ValueError, match="track, batch, running"):
        network.set_norm("eval")


def test_a_supernet_in_batch_state_keeps_its_statistics():
    network = supernet()
    network.train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(images(), TINY.all_on(), random_mixtures(network)[1])
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_convention_of_affine_normalisation():
    assert all(p.norm_weight is None for p in supernet().modules() if isinstance(p, Cell))
    assert all(p.norm_weight is not None for p in derived_network().modules() if isinstance(p, Cell))
    assert supernet(affine=True).modules_[0].branches["0"].individual_1.norm_weight is not None


def test_batch_equals_single_images_in_evaluation():
    network = derived_network()
    network(images(count=6, seed=3))
    network.eval()
    x = images(count=3)
    assert torch.allclose(network(x), torch.cat([network(x[i : i + 1]) for i in range(3)]), atol=1e-6)


@pytest.mark.parametrize("kind", ["soft", "straight_through", "one_op", "derived"])
@pytest.mark.parametrize("kernels", ["reference", "fused"])
@pytest.mark.parametrize("mode", ["track", "batch"])
def test_activation_checkpointing_changes_nothing(kind, kernels, mode):
    choice = KernelChoice.all(kernels)
    found = []
    for recompute in (False, True):
        if kind == "derived":
            network, alphas, arguments = derived_network(activation_checkpointing=recompute), None, ()
        else:
            network = supernet(activation_checkpointing=recompute)
            alphas, _ = random_mixtures(network)
            arguments = (TINY.all_on(), alphas.sample(GumbelSettings(kind), 0.5, generator(0, "test")))
        for module in network.modules():
            if hasattr(module, "choice"):
                module.choice = choice
        network.set_norm(mode)
        out = network(images(), *arguments)
        (out.square().mean() * 1e4).backward()
        grads = {name: p.grad for name, p in network.named_parameters()}
        grads |= {} if alphas is None else {name: p.grad for name, p in alphas.named_parameters()}
        found.append((out, grads, dict(network.named_buffers())))
        assert network.state.mode == mode
    (out, grads, buffers), (out_again, grads_again, buffers_again) = found
    assert torch.equal(out, out_again)
    for name, grad in grads.items():
        again = grads_again[name]
        assert (grad is None and again is None) or torch.equal(grad, again), name
    for name, value in buffers.items():
        assert torch.equal(value, buffers_again[name]), name


def test_loss_is_hrnets():
    heatmaps, target = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    weight = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.5]])
    total = 0.0
    for n in range(2):
        for k in range(3):
            for y in range(4):
                for x in range(5):
                    total += 0.5 * float(weight[n, k] * (heatmaps[n, k, y, x] - target[n, k, y, x])) ** 2
    assert float(joints_mse_loss(heatmaps, target, weight)) == pytest.approx(total / (2 * 3 * 4 * 5), rel=1e-5)
    assert joints_mse_loss(heatmaps.bfloat16(), target, weight).dtype == torch.float32


def test_image_size_is_checked():
    with pytest.raises(UserError, match="multiple of 16"):
        supernet()(torch.zeros(1, 3, 16, 24), TINY.all_on(), random_mixtures(supernet())[1])


def test_what_is_left_open_must_be_given():
    network = supernet()
    with pytest.raises(ValueError, match="leaves beta open"):
        network(images())
    with pytest.raises(ValueError, match="needs the mixing weights"):
        network(images(), TINY.all_on())


def test_a_wrong_kernel_is_named():
    with pytest.raises(ValueError, match="mixed_edge"):
        KernelChoice(mixed_edge="fast")


def test_bfloat16_autocast_runs_forward_and_backward():
    macro = MacroSpace((4, 8), 1, 1, 1, 1, 4, head="sum")
    network = supernet(macro)
    alphas, _ = random_mixtures(network)
    with torch.autocast("cpu", torch.bfloat16):
        heatmaps = network(images(macro), macro.all_on(), alphas.mean())
    joints_mse_loss(heatmaps, torch.zeros(heatmaps.shape), torch.ones(2, 3)).backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in network.parameters())
    assert all(p.grad.isfinite().all() for p in alphas.parameters())


def test_place_keeps_results():
    network = supernet().double()
    _, mixtures = random_mixtures(network)
    before = network(images().double(), TINY.all_on(), mixtures)
    network.place(torch.device("cpu"))
    x = images().double().to(memory_format=torch.channels_last)
    assert torch.allclose(network(x, TINY.all_on(), mixtures), before)
    assert network.stem.first[0][0].weight.is_contiguous(memory_format=torch.channels_last)
