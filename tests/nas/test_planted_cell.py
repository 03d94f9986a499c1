"""The alternating steps of Algorithm 1 find the operations of a known cell."""

import torch
from networks import REFERENCE

from autopose.kernels import KernelChoice
from autopose.models import Cell
from autopose.models.norm import NormState
from autopose.nas import ArchitectureParameters, GumbelSettings, derive_cells
from autopose.nas.randomness import generator
from autopose.space import OPS, CellSpace, Genotype, MacroSpace, SearchSpace

PLANTED = Genotype(1, 2, ("conv_5x5", "max_pool_3x3", "skip_connect"))
CHANNELS, STEPS = 4, 250


def teacher(seed: int) -> Cell:
    torch.manual_seed(seed)
    return Cell(CellSpace.fixed(PLANTED), CHANNELS, False, NormState(), REFERENCE)


def search(seed: int) -> Genotype:
    """First-order bilevel search of one individual cell against the teacher's output."""
    wanted = teacher(seed)
    cell = Cell(CellSpace.full(1, 2), CHANNELS, False, NormState(), KernelChoice.all("fused"))
    # The 1x1 convolution is the teacher's, or else it could undo which node is which.
    cell.compress.load_state_dict(wanted.compress.state_dict())
    cell.compress.requires_grad_(False)
    alphas = ArchitectureParameters(SearchSpace.full(MacroSpace((CHANNELS,), 1, 1, 2, 1, 1)), seed)
    weights = [p for p in cell.parameters() if p.requires_grad]
    weight_optimizer = torch.optim.Adam(weights, 2e-2)
    alpha_optimizer = torch.optim.Adam(alphas.parameters(), 3e-2, (0.5, 0.999), weight_decay=1e-3)
    settings, draws = GumbelSettings(), generator(seed, "images")

    def loss(progress: float, purpose: str) -> torch.Tensor:
        x = torch.randn(8, CHANNELS, 8, 8, generator=draws)
        with torch.no_grad():
            target = wanted([x])
        mixture = alphas.sample(settings, progress, generator(seed, purpose, int(progress * STEPS)))[0]["individual_1"]
        return (cell([x], mixture) - target).square().mean()

    for step in range(STEPS):
        for optimizer, purpose in ((weight_optimizer, "weights"), (alpha_optimizer, "alpha")):
            weight_optimizer.zero_grad()
            alpha_optimizer.zero_grad()
            loss(step / STEPS, purpose).backward()
            optimizer.step()
    return derive_cells(alphas)[0]["individual_1"]


def test_argmax_alpha_recovers_the_planted_operations():
    found = [search(seed).ops for seed in range(3)]
    assert sum(ops == PLANTED.ops for ops in found) >= 2, found
    assert set(PLANTED.ops) < set(OPS)
