"""Architectures that no search found: hand-made ones, and random ones, of a band of multiply-adds where asked."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autopose.errors import UserError

from .architecture import Architecture
from .cell import Genotype, num_edges
from .macro import MacroArchitecture, MacroSpace
from .macs import count_macs
from .ops import OPS, ordered

BUILTIN = ("all_on_conv3", "single_scale", "hrnet", "random")
# Draws before a band counts as empty: one of a thousandth of the space is missed once in 20,000 runs.
MOST_DRAWS = 10_000
# Width factors that are tried for a size are multiples of 1 / 64.
STEPS, LARGEST_WIDTH = 64, 16

Cells = tuple[dict[str, Genotype], ...]


@dataclass(frozen=True)
class Size:
    """How large a network of an architecture is: what its multiply-adds depend on.

    Args:
        image: [width, height] px.
        num_joints: K.
        width: channels over the space's.
    """

    image: Sequence[int]
    num_joints: int
    width: float = 1

    def gmacs(self, architecture: Architecture) -> float:
        """10^9 multiply-adds of one image."""
        space = architecture.macro_space.widened(self.width)
        return count_macs(space, architecture.macro, architecture.cells, self.image, self.num_joints) / 1e9


def uniform_cells(space: MacroSpace, draw: Callable[[], str]) -> Cells:
    """Cells for every branch with ``draw()`` on each edge; C_I1 and C_I2 alike, as under the default sharing of α."""
    return _cells(space, lambda inputs, nodes: [draw() for _ in range(num_edges(inputs, nodes))])


def all_on_conv3(space: MacroSpace) -> Architecture:
    """Every branch in every stage, 3x3 convolutions everywhere."""
    return Architecture(space, space.all_on(), uniform_cells(space, lambda: "conv_3x3"), {"builtin": "all_on_conv3"})


def single_scale(space: MacroSpace) -> Architecture:
    """The 4x branch alone, 3x3 convolutions everywhere (Table 4)."""
    row = (True,) + (False,) * (space.num_branches - 1)
    macro = MacroArchitecture((row,) * space.num_decisions)
    return Architecture(space, macro, uniform_cells(space, lambda: "conv_3x3"), {"builtin": "single_scale"})


def hrnet(space: MacroSpace) -> Architecture:
    """The nearest to HRNet (Sun et al., CVPR 2019) that the space holds.

    Branches are added stage by stage until all are there. In a cell, every node is a 3x3 convolution of the one before
    plus identities of everything else, as in a residual block; branches are summed as they come, as in HRNet's fusion.
    """
    decisions, branches = space.num_decisions, space.num_branches
    rows = [[b < -(-(d + 1) * branches // decisions) for b in range(branches)] for d in range(decisions)]

    def ops(inputs: int, nodes: int) -> list[str]:
        found = []
        for node in range(nodes):
            last = inputs + node - 1
            convolved = node > 0 or inputs == 1
            found += ["conv_3x3" if convolved and source == last else "skip_connect" for source in range(last + 1)]
        return found

    return Architecture(space, MacroArchitecture.of(rows), _cells(space, ops), {"builtin": "hrnet"})


def random_architecture(
    space: MacroSpace,
    seed: int,
    operations: Sequence[str] = OPS,
    band: tuple[float, float] | None = None,
    size: Size | None = None,
) -> Architecture:
    """β uniform over the allowed rows and an operation uniform on every edge.

    Args:
        seed: of the draw; without a band it alone decides.
        operations: the candidates of every edge.
        band: least and most GMACs: drawn again until a network of ``size`` lies within.

    Raises:
        UserError: nothing within the band among ``MOST_DRAWS`` draws.
    """
    rng = random.Random(seed)
    low, high = band or (0.0, float("inf"))
    seen = []
    for draw in range(MOST_DRAWS):
        macro = MacroArchitecture(tuple(rng.choice(space.allowed()) for _ in range(space.num_decisions)))
        cells = uniform_cells(space, lambda: rng.choice(ordered(operations)))
        found = Architecture(space, macro, cells, {"builtin": "random", "seed": seed})
        if band is None or size is None:
            return found
        gmacs = size.gmacs(found)
        if low <= gmacs <= high:
            return Architecture(space, macro, cells, {**found.found_by, "draws": draw + 1, "gmacs": gmacs})
        seen.append(gmacs)
    raise UserError(
        f"no architecture of {low:g} to {high:g} GMACs among {MOST_DRAWS} random ones, which have {min(seen):.3g} to "
        f"{max(seen):.3g}: widen the band"
    )


HAND_MADE = {"all_on_conv3": all_on_conv3, "single_scale": single_scale, "hrnet": hrnet}


def builtin_architecture(
    name: str,
    space: MacroSpace,
    seed: int = 0,
    operations: Sequence[str] = OPS,
    band: tuple[float, float] | None = None,
    size: Size | None = None,
) -> Architecture:
    """The architecture called ``name``: one of ``HAND_MADE``, or "random" (see ``random_architecture``)."""
    if name == "random":
        return random_architecture(space, seed, operations, band, size)
    if name in HAND_MADE:
        # Bounds on active branches say what a search may choose, not what people may compare it with.
        return HAND_MADE[name](replace(space, min_active=0, max_active=0))
    raise UserError(
        f"unknown built-in architecture {name!r}; there are {', '.join(BUILTIN)}, or the path of a JSON file"
    )


def width_for(architecture: Architecture, gmacs: float, size: Size) -> float:
    """The width at which an architecture's multiply-adds come nearest to ``gmacs`` (10^9).

    Raises:
        UserError: even the narrowest network is more than a tenth above, or the widest below.
    """
    widths = [step / STEPS for step in range(1, LARGEST_WIDTH * STEPS + 1)]
    sizes = {width: Size(size.image, size.num_joints, width).gmacs(architecture) for width in widths}
    best = min(widths, key=lambda width: (abs(sizes[width] - gmacs), width))
    if abs(sizes[best] - gmacs) > 0.1 * gmacs:
        raise UserError(
            f"no width brings this architecture within a tenth of {gmacs:g} GMACs: the nearest, {best:g}, has "
            f"{sizes[best]:.3g}"
        )
    return best


def _cells(space: MacroSpace, ops: Callable[[int, int], Sequence[str]]) -> Cells:
    found = []
    for _ in range(space.num_branches):
        individual = Genotype(1, space.nodes_individual, tuple(ops(1, space.nodes_individual)))
        cells = {"individual_1": individual, "individual_2": individual}
        if space.aggregation == "cell":
            inputs, nodes = space.num_branches, space.nodes_aggregation
            cells["aggregation"] = Genotype(inputs, nodes, tuple(ops(inputs, nodes)))
        found.append(cells)
    return tuple(found)
