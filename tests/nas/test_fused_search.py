"""A search with fused kernels is a search with the reference's: one step to 1e-12, fifty steps to the same α."""

import pytest
import torch
from autopose.kernels import KernelChoice

from autopose.models import PoseNetwork
from autopose.nas import BilevelSearch, BilevelSettings, ControllerSettings, GumbelSettings
from autopose.space import MacroSpace, SearchSpace

MACRO = MacroSpace((4, 6), 2, 1, 2, 1, 4)
STEPS = 50
TOLERANCE_OF_ALPHA = 1e-9
"""Adam divides by the root of squared gradients, so rounding may grow over the steps; 1e-15 was seen."""


def batch(seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randn(4, 3, 32, 24, generator=draws, dtype=torch.float64)
    target = torch.rand(4, 3, 8, 6, generator=draws, dtype=torch.float64)
    return {"image": image, "target": target, "weight": torch.ones(4, 3, dtype=torch.float64)}


def bilevel(implementation: str, relaxation: str = "soft") -> BilevelSearch:
    torch.manual_seed(0)
    network = PoseNetwork(SearchSpace.full(MACRO), 3, choice=KernelChoice.all(implementation)).double()
    network.set_norm("batch")
    settings = BilevelSettings(
        epochs=1,
        iterations=STEPS,
        gumbel=GumbelSettings(relaxation),
        controller=ControllerSettings(start_epoch=1, hidden=8),
    )
    search = BilevelSearch(network, settings, seed=0)
    search.alphas.double()
    return search


@pytest.mark.parametrize("relaxation", ["soft", "straight_through", "one_op"])
def test_one_step_has_the_same_loss_and_gradients(relaxation):
    found = []
    for implementation in ("reference", "fused"):
        search = bilevel(implementation, relaxation)
        beta = MACRO.all_on()
        loss = search.loss(batch(0), beta, search.mixtures("alpha"))
        leaves = [*search.network.parameters(), *search.alphas.parameters()]
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        found.append((loss, [torch.zeros_like(p) if g is None else g for p, g in zip(leaves, gradients, strict=True)]))
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
