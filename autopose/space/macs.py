"""Multiply-adds of a network by arithmetic: what fvcore's count is checked against, and what a reward may weigh.

Counted as fvcore and HRNet's papers do: convolutions only. H and W are the image's sides.
"""

from collections.abc import Mapping, Sequence

from .cell import CellSpace, Genotype
from .macro import MacroArchitecture, MacroSpace
from .ops import operation
from .search_space import SearchSpace

Cells = Mapping[str, Genotype | CellSpace]


def cell_macs(cell: Genotype | CellSpace, channels: int, pixels: int) -> int:
    """Edges (of a cell space: with all their candidates) and the compressing 1x1 convolution."""
    names = cell.ops if isinstance(cell, Genotype) else [name for names in cell.candidates for name in names]
    return (sum(operation(name).macs(channels) for name in names) + cell.num_nodes * channels * channels) * pixels


def resample_macs(space: MacroSpace, source: int, target: int, pixels: Sequence[int]) -> int:
    """Convolutions that bring branch ``source`` to branch ``target``; ``pixels`` of every branch."""
    before, after = space.channels[source], space.channels[target]
    if source > target:
        return before * after * pixels[source]
    if space.downsample == "avg_pool":
        return before * after * pixels[target]
    chain = [before] * (target - source) + [after]
    return sum(9 * chain[i] * chain[i + 1] * pixels[source + i + 1] for i in range(target - source))


def branch_macs(space: MacroSpace, branch: int, cells: Cells, image_size: Sequence[int]) -> int:
    """One active branch of one multi-scale module."""
    pixels = [image_size[0] // s * (image_size[1] // s) for s in space.scales]
    c, b, here = space.channels[branch], space.num_branches, pixels[branch]
    total = sum(resample_macs(space, s, branch, pixels) for s in range(b) if s != branch)
    total += sum(cell_macs(cell, c, here) for cell in cells.values())
    return total if space.aggregation == "cell" else total + b * c * c * here


def stem_head_macs(space: MacroSpace, image_size: Sequence[int], num_joints: int) -> int:
    """Stem and head of §4.2."""
    pixels = [image_size[0] // s * (image_size[1] // s) for s in (2, *space.scales)]
    c, stem = space.channels, space.stem_channels
    middle = max(stem // 4, 1)
    total = 27 * stem * pixels[0] + 9 * stem * stem * pixels[1]
    total += (stem * middle + 9 * middle * middle + middle * c[0]) * pixels[1]
    total += stem * c[0] * pixels[1] if stem != c[0] else 0
    total += sum(9 * c[i] * c[i + 1] * pixels[i + 2] for i in range(len(c) - 1))
    if space.head == "sum":
        total += sum(channels * c[0] * p for channels, p in zip(c, pixels[1:], strict=True))
        return total + 9 * c[0] * num_joints * pixels[1]
    return total + 9 * sum(c) * num_joints * pixels[1]


def count_macs(
    space: MacroSpace,
    beta: MacroArchitecture,
    cells: Sequence[Cells] | None,
    image_size: Sequence[int],
    num_joints: int,
) -> int:
    """Multiply-adds of one image [width, height] through the network under β.

    Args:
        cells: per branch, its cells' genotypes, or their spaces (a supernet); None: the paper's six on every edge.
    """
    cells = cells or [branch.cells() for branch in SearchSpace.full(space).branches]
    total = stem_head_macs(space, image_size, num_joints)
    for module in range(space.num_modules):
        for b, on in enumerate(beta.rows[space.decision_of(module)]):
            if on:
                total += branch_macs(space, b, cells[b], image_size)
    return total
