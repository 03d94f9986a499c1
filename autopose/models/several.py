"""Several β in one pass over the pictures: what they have in common is computed once."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from autopose.space import MacroArchitecture

from .inference import InferenceNetwork
from .module import BranchMixture
from .network import PoseNetwork


def heatmaps_of_each(
    network: PoseNetwork | InferenceNetwork,
    images: Tensor,
    betas: Sequence[MacroArchitecture],
    mixtures: Sequence[BranchMixture] | None = None,
) -> Iterator[tuple[MacroArchitecture, Tensor]]:
    """Heatmaps (N, K, H / 4, W / 4) of images (N, 3, H, W) under every β, those of equal beginnings after each other.

    The stem runs once, a module once for all β whose rows up to it are the same. Normalisation reads the batch, which
    is the same for all, or running statistics: the heatmaps are those of one β at a time.

    Args:
        network: with all branches that any β activates.
        betas: without repetition.
        mixtures: of a supernet, as ``PoseNetwork.forward`` takes them.
    """
    yield from _after(network, 0, network.stem_features(images), list(betas), mixtures)


def _after(network, number: int, features: Sequence[Tensor], betas: list[MacroArchitecture], mixtures) -> Iterator:
    """From the features before module ``number``, depth first, so that few features are kept at a time."""
    if number == len(network.modules_):
        heatmaps = network.head(features)
        yield from ((beta, heatmaps) for beta in betas)
        return
    groups: dict[tuple[bool, ...], list[MacroArchitecture]] = {}
    for beta in betas:
        groups.setdefault(beta.rows[network.space.macro.decision_of(number)], []).append(beta)
    for row, mine in groups.items():
        found = network.modules_[number](features, row, mixtures)
        yield from _after(network, number + 1, found, mine, mixtures)
