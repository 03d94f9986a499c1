"""Architecture derivation (§3.3): a function on data, and the supernet's weights handed to a derived network."""

from collections.abc import Callable

import torch
from torch import Tensor

from autopose.models import PoseNetwork
from autopose.space import OPS, Architecture, Genotype, MacroArchitecture

from .alpha import SKIP, ArchitectureParameters
from .controller import Controller
from .randomness import generator

AFFINE = ("weight", "bias", "norm_weight", "norm_bias")


def derive_cells(alphas: ArchitectureParameters, max_skips: int | None = None) -> tuple[dict[str, Genotype], ...]:
    """Argmax operations of every cell, all predecessors kept.

    Args:
        max_skips: where given, a cell keeps skip connections only on that many edges (those with the largest α of
            skip); the others take their next best operation.
    """
    return tuple(
        {
            name: Genotype(cell.num_inputs, cell.num_nodes, _argmax(alphas.alpha(b, name).detach(), max_skips))
            for name, cell in branch.cells().items()
        }
        for b, branch in enumerate(alphas.space.branches)
    )


def cells_of(alphas: ArchitectureParameters, ops: dict[str, list[int]]) -> tuple[dict[str, Genotype], ...]:
    """Genotypes of every branch from operation indices, a list of E for every name of ``alphas.alphas``."""
    return tuple(
        {
            name: Genotype(cell.num_inputs, cell.num_nodes, tuple(OPS[op] for op in ops[alphas.name(b, name)]))
            for name, cell in branch.cells().items()
        }
        for b, branch in enumerate(alphas.space.branches)
    )


def _argmax(alpha: Tensor, max_skips: int | None) -> tuple[str, ...]:
    picked = alpha.argmax(-1)
    if max_skips is not None:
        skips = (picked == SKIP).nonzero()[:, 0]
        ranked = skips[alpha.softmax(-1)[skips, SKIP].argsort(descending=True, stable=True)]
        for edge in ranked[max_skips:].tolist():
            row = alpha[edge].clone()
            row[SKIP] = -torch.inf
            picked[edge] = row.argmax()
    return tuple(OPS[op] for op in picked.tolist())


def select_macro(
    controller: Controller, reward: Callable[[MacroArchitecture], float], num_samples: int, seed: int
) -> tuple[MacroArchitecture, list[dict]]:
    """The best of N sampled β and the policy's mode by the supernet's shared weights (§3.3).

    Returns β and, for each candidate in the order scored, {"beta", "reward", "source"}.
    """
    draws = generator(seed, "derive")
    candidates = [(controller.mode()[0], "mode")]
    with torch.no_grad():
        candidates += [(controller.sample(draws)[0], "sample") for _ in range(num_samples)]
    scores: dict[MacroArchitecture, float] = {}
    rows = []
    for beta, source in candidates:
        if beta not in scores:
            scores[beta] = float(reward(beta))
        rows.append({"beta": str(beta), "reward": scores[beta], "source": source})
    return max(scores, key=scores.__getitem__), rows


def inherit_weights(derived: PoseNetwork, supernet: PoseNetwork, architecture: Architecture) -> None:
    """Copy a supernet's weights into the derived network of the same width, edge by edge, in place.

    Scale and shift of normalisations that the supernet lacks stay the identity.
    """
    source, own = supernet.state_dict(), derived.state_dict()
    for name, tensor in own.items():
        prefix, _, leaf = name.rpartition(".")
        parts = prefix.split(".")
        if name not in source and leaf in AFFINE:
            continue
        value = source.get(name)
        if value is not None and parts[0] == "modules_" and parts[-1] in architecture.cells[0]:
            value = _edge_rows(value, leaf, architecture.cells[int(parts[3])][parts[-1]].indices)
        if value is None or value.shape != tensor.shape:
            raise ValueError(f"{name} of the derived network has no counterpart of shape {tuple(tensor.shape)}")
        tensor.copy_(value)


def _edge_rows(stacked: Tensor, leaf: str, ops: tuple[int, ...]) -> Tensor:
    if leaf.startswith("conv"):
        kind = {"conv1": 0, "conv3": 1, "conv5": 2}[leaf]
        return stacked[[e for e, op in enumerate(ops) if op == kind]]
    return stacked[torch.arange(len(ops)), torch.tensor([min(op, 4) for op in ops])]
