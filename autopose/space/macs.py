"""Multiply-adds of a network by arithmetic: what fvcore's count is checked against, and what a reward may weigh.

Counted as fvcore and HRNet's papers do: convolutions only. H and W are the image's sides.
"""

from collections.abc import Sequence

from .cell import Genotype
from .macro import MacroArchitecture, MacroSpace

KERNEL_AREA = {"conv_1x1": 1, "conv_3x3": 9, "conv_5x5": 25}


def cell_macs(genotype: Genotype | None, num_nodes: int, channels: int, pixels: int, edges: int) -> int:
    """Edges and the compressing 1x1 convolution; genotype None: all six operations on each of ``edges`` edges."""
    areas = [35] * edges if genotype is None else [KERNEL_AREA.get(op, 0) for op in genotype.ops]
    return (sum(areas) + num_nodes) * channels * channels * pixels


def resample_macs(space: MacroSpace, source: int, target: int, pixels: Sequence[int]) -> int:
    """Convolutions that bring branch ``source`` to branch ``target``; ``pixels`` of every branch."""
    before, after = space.channels[source], space.channels[target]
    if source > target:
        return before * after * pixels[source]
    if space.downsample == "avg_pool":
        return before * after * pixels[target]
    chain = [before] * (target - source) + [after]
    return sum(9 * chain[i] * chain[i + 1] * pixels[source + i + 1] for i in range(target - source))


def branch_macs(space: MacroSpace, branch: int, cells: dict[str, Genotype] | None, image_size: Sequence[int]) -> int:
    """One active branch of one multi-scale module; ``cells`` None: a branch of the supernet."""
    pixels = [image_size[0] // s * (image_size[1] // s) for s in space.scales]
    c, b, here = space.channels[branch], space.num_branches, pixels[branch]
    k_i, k_m = space.nodes_individual, space.nodes_aggregation
    names = {"individual_1": (1, k_i), "individual_2": (1, k_i)}
    if space.aggregation == "cell":
        names["aggregation"] = (b, k_m)
    total = sum(resample_macs(space, s, branch, pixels) for s in range(b) if s != branch)
    for name, (inputs, nodes) in names.items():
        edges = nodes * inputs + nodes * (nodes - 1) // 2
        total += cell_macs(cells[name] if cells else None, nodes, c, here, edges)
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
    cells: Sequence[dict[str, Genotype]] | None,
    image_size: Sequence[int],
    num_joints: int,
) -> int:
    """Multiply-adds of one image [width, height] through the network; ``cells`` None: the supernet under β."""
    total = stem_head_macs(space, image_size, num_joints)
    for module in range(space.num_modules):
        for b, on in enumerate(beta.rows[space.decision_of(module)]):
            if on:
                total += branch_macs(space, b, cells[b] if cells else None, image_size)
    return total
