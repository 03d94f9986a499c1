"""Small networks and batches for the tests of models and search."""

import torch

from autopose.kernels import KernelChoice
from autopose.models import EdgeMixture, PoseNetwork
from autopose.nas import ArchitectureParameters
from autopose.space import MacroSpace, SearchSpace

REFERENCE = KernelChoice.all("reference")
TINY = MacroSpace((4, 6, 8), 2, 1, 2, 1, 4)


def supernet(macro: MacroSpace = TINY, joints: int = 3, seed: int = 0, **options) -> PoseNetwork:
    """A supernet whose heatmaps are large enough to be compared."""
    torch.manual_seed(seed)
    network = PoseNetwork(SearchSpace.full(macro), joints, choice=REFERENCE, **options)
    with torch.no_grad():
        network.head.predict.weight.mul_(100)
    return network


def images(macro: MacroSpace = TINY, count: int = 2, seed: int = 0, multiple: int = 1) -> torch.Tensor:
    """Images of the least size with more than one pixel in the coarsest branch."""
    side = macro.scales[-1]
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 2 * side * multiple, side * multiple, generator=draws)


def random_mixtures(network: PoseNetwork, seed: int = 0):
    """α drawn from a normal distribution, and its mixtures in the network's dtype."""
    alphas = ArchitectureParameters(network.space, seed)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for alpha in alphas.alphas.values():
            alpha.copy_(torch.randn(alpha.shape, generator=draws))
    dtype = next(network.parameters()).dtype
    mixtures = [{name: EdgeMixture(m.weights.to(dtype)) for name, m in branch.items()} for branch in alphas.mean()]
    return alphas, mixtures
