"""Architecture derivation (§3.3): a function on data, and the supernet's weights handed to a derived network."""

from dataclasses import replace

import torch
from torch import nn

from autopose.models import Cell, PoseNetwork
from autopose.space import Architecture, Genotype, MacroArchitecture

from .alpha import SKIP, ArchitectureParameters, gumbel

AFFINE = ("weight", "bias", "norm_weight", "norm_bias")


def derive_cells(alphas: ArchitectureParameters, max_skips: int | None = None) -> tuple[dict[str, Genotype], ...]:
    """Argmax operations of every cell, all predecessors kept.

    Args:
        max_skips: where given, a cell keeps skip connections only on that many edges (those with the largest α of
            skip); the others take their next best operation.
    """
    return cells_of(alphas, derive_ops(alphas, max_skips))


def cells_of(alphas: ArchitectureParameters, ops: dict[str, list[int]]) -> tuple[dict[str, Genotype], ...]:
    """Genotypes of every branch from columns of α, a list of E for every name of ``alphas.alphas``."""
    return tuple(
        {
            name: Genotype(
                cell.num_inputs, cell.num_nodes, tuple(alphas.operations[op] for op in ops[alphas.name(b, name)])
            )
            for name, cell in branch.cells().items()
        }
        for b, branch in enumerate(alphas.space.branches)
    )


def columns_of(alphas: ArchitectureParameters, architecture: Architecture) -> dict[str, list[int]]:
    """The inverse of ``cells_of``; ValueError where the space lacks an operation, or shares α where cells differ."""
    found: dict[str, list[int]] = {}
    for branch, cells in enumerate(architecture.cells):
        for name, cell in cells.items():
            key, ops = alphas.name(branch, name), [alphas.operations.index(op) for op in cell.ops]
            if found.setdefault(key, ops) != ops:
                raise ValueError(f"cells that share {key} have different operations")
    return found


def derive_ops(
    alphas: ArchitectureParameters,
    max_skips: int | None = None,
    draws: torch.Generator | None = None,
    temperature: float = 1.0,
) -> dict[str, list[int]]:
    """Columns of α that ``derive_cells`` takes, a list of E for every name of ``alphas.alphas``.

    Args:
        max_skips: as there.
        draws, temperature: where given, operations are drawn from softmax(α / temperature): the argmax under as much
            Gumbel noise.
    """
    found, skip = {}, alphas.column(SKIP)
    for name in alphas.alphas:
        rows = alphas.logits([name]).detach()
        if draws is not None:
            rows = rows + temperature * gumbel(rows.shape, draws).to(rows)
        picked = rows.argmax(-1)
        if max_skips is not None and skip is not None:
            skips = (picked == skip).nonzero()[:, 0]
            ranked = skips[rows.softmax(-1)[skips, skip].argsort(descending=True, stable=True)]
            for edge in ranked[max_skips:].tolist():
                row = rows[edge].clone()
                row[skip] = -torch.inf
                if row.isfinite().any():
                    picked[edge] = row.argmax()
        found[name] = picked.tolist()
    return found


def one_op_network(
    supernet: PoseNetwork,
    alphas: ArchitectureParameters,
    ops: dict[str, list[int]],
    beta: MacroArchitecture | None = None,
) -> PoseNetwork:
    """A copy of the supernet with one operation an edge and nothing else: its one-hot function, to the bit.

    Args:
        ops: columns of α, as ``derive_ops`` gives them.
        beta: which branches it holds; None: all that the supernet has.

    Returns:
        a derived network of the supernet's width, on its device, whose statistics are read as the supernet's are now.
    """
    macro = replace(supernet.space.macro, min_active=0, max_active=0)
    beta = beta or supernet.space.beta or macro.all_on()
    weight = supernet.head.predict.weight
    affine = any(module.affine for module in supernet.modules_.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.device("meta"):
        space = Architecture(macro, beta, cells_of(alphas, ops)).space()
        network = PoseNetwork(space, supernet.num_joints, affine, supernet.choice)
    network = network.to_empty(device=weight.device).place(weight.device)
    inherit_weights(network, supernet)
    network.set_norm(supernet.state.mode)
    return network.requires_grad_(False)


@torch.no_grad()
def inherit_weights(derived: PoseNetwork, supernet: PoseNetwork) -> None:
    """Copy a supernet's weights into a derived network of the same width, edge by edge, in place.

    Scale and shift of normalisations that the supernet lacks stay the identity.
    """
    source = supernet.state_dict()
    cells = {name: module for name, module in derived.named_modules() if isinstance(module, Cell)}
    for name, tensor in derived.state_dict().items():
        prefix, _, leaf = name.rpartition(".")
        if name not in source and leaf in AFFINE:
            continue
        value = source.get(name)
        if value is not None and prefix in cells:
            value = supernet.get_submodule(prefix).rows_of(leaf, cells[prefix].rows)
        if value is None or value.shape != tensor.shape:
            raise ValueError(f"{name} of the derived network has no counterpart of shape {tuple(tensor.shape)}")
        tensor.copy_(value)
