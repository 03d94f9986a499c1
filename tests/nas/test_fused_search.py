"""A search with fused kernels is a search with the reference's: one step to 1e-12, fifty steps to the same α."""

import pytest
import torch

from autopose.kernels import KernelChoice, dispatch
from autopose.models import PoseNetwork
from autopose.nas import BilevelSearch, BilevelSettings, ControllerSettings, GumbelSettings
from autopose.space import MacroSpace, SearchSpace
from tests.numerics import check_close

MACRO = MacroSpace((4, 6), 2, 1, 2, 1, 4)
STEPS = 50
TOLERANCE_OF_ALPHA = 1e-9
"""Adam divides by the root of squared gradients, so rounding may grow over the steps; 1e-15 was seen."""


def batch(seed: int, dtype=torch.float64, device="cpu") -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randn(4, 3, 32, 24, generator=draws, dtype=torch.float64)
    target = torch.rand(4, 3, 8, 6, generator=draws, dtype=torch.float64)
    tensors = {"image": image, "target": target, "target_weight": torch.ones(4, 3, dtype=torch.float64)}
    return {name: t.to(device, dtype) for name, t in tensors.items()}


def bilevel(kernels: str | KernelChoice, relaxation="soft", dtype=torch.float64, device="cpu") -> BilevelSearch:
    torch.manual_seed(0)
    choice = KernelChoice.all(kernels) if isinstance(kernels, str) else kernels
    network = PoseNetwork(SearchSpace.full(MACRO), 3, choice=choice).to(device, dtype)
    network.set_norm("batch")
    settings = BilevelSettings(
        epochs=1,
        iterations=STEPS,
        gumbel=GumbelSettings(relaxation),
        controller=ControllerSettings(start_epoch=1, hidden=8),
    )
    search = BilevelSearch(network, settings, seed=0)
    search.alphas.to(device, dtype)
    return search


def loss_and_gradients(search: BilevelSearch, tensors: dict[str, torch.Tensor]) -> tuple[torch.Tensor, list]:
    """Of a step with all branches on: the loss, and a gradient for each of the network's parameters and every α."""
    loss = search.loss(tensors, MACRO.all_on(), search.mixtures("alpha"))
    leaves = [*search.network.parameters(), *search.alphas.parameters()]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    return loss, [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, gradients, strict=True)]


@pytest.mark.parametrize("relaxation", ["soft", "straight_through", "one_op"])
def test_one_step_has_the_same_loss_and_gradients(relaxation):
    found = [loss_and_gradients(bilevel(name, relaxation), batch(0)) for name in ("reference", "fused")]
    (loss, reference), (other, fused) = found
    assert abs(loss - other) <= 1e-12 * abs(loss)
    largest = max(g.abs().max() for g in reference)
    assert all((a - b).abs().max() <= 1e-12 * max(largest, 1.0) for a, b in zip(reference, fused, strict=True))
    assert sum(g.abs().sum() for g in reference[-4:]) > 0


def test_fifty_steps_find_the_same_alpha():
    searches = [bilevel(implementation) for implementation in ("reference", "fused")]
    for step in range(STEPS):
        for search in searches:
            search.cell_update(batch(2 * step), batch(2 * step + 1))
    reference, fused = (torch.cat([a.detach() for a in s.alphas.parameters()]) for s in searches)
    moved = (reference - torch.cat([a.detach() for a in bilevel("reference").alphas.parameters()])).abs().max()
    assert moved > 1e-2
    assert (reference - fused).abs().max() <= TOLERANCE_OF_ALPHA


@pytest.mark.skipif(not dispatch.HAS_TRITON, reason="needs triton")
def test_one_step_of_the_triton_kernels(monkeypatch):
    """In float32, compiled on a GPU and interpreted elsewhere, by the rule of `check_close`."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    triton = KernelChoice(mixed_edge="triton", single_edge="auto", resample_sum="triton")
    runs = ((triton, torch.float32, device), ("reference", torch.float32, device), ("reference", torch.float64, "cpu"))
    found = []
    for kernels, dtype, place in runs:
        search = bilevel(kernels, "soft", dtype, place)
        loss, gradients = loss_and_gradients(search, batch(0, dtype, place))
        weights = len(list(search.network.parameters()))
        parts = ([loss.detach()], gradients[:weights], gradients[weights:])
        found.append([torch.cat([t.flatten() for t in part]).cpu() for part in parts])
    for name, *tensors in zip(("loss", "gradients of the weights", "gradients of alpha"), *found, strict=True):
        check_close(name, *tensors, torch.float32)
