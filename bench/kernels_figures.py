"""Draws the figures of docs/kernels.md: ``python -m bench.kernels_figures`` writes docs/images/{cell,taps}.png.

What they show is read from the code: edges and slots from `kernels.topology`; the order of the taps is that of
`tap_place`, as a test compares.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle

from autopose.kernels.topology import CONV_SIZES, Topology
from autopose.report.saving import save_figure

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8a929b"
SLOTS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def cell_figure(inputs: int = 1, nodes: int = 4) -> Figure:
    """A cell: states in a row, its edges coloured by slot and numbered."""
    cell, figure = Topology(inputs, nodes), Figure(figsize=(9.6, 4.0))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1.0, 9.6), ylim=(-1.9, 2.1), aspect="equal")
    axes.axis("off")
    place = [2.15 * state for state in range(inputs + nodes)]
    for node in range(nodes):
        for edge, source in cell.into(node):
            _edge(axes, place[source], place[inputs + node], edge, cell.out_of(source).index(edge))
    for state, x in enumerate(place):
        last = state == inputs + nodes - 1
        axes.add_patch(Circle((x, 0), 0.42, fc="white", ec=GREY if last else "black", lw=1.6, zorder=3))
        name = "input" if state < inputs else f"node {state - inputs}"
        role = "no source" if last else f"source {state}"
        axes.text(x, 0.11, name, ha="center", va="center", fontsize=9.5, zorder=4)
        axes.text(x, -0.14, role, ha="center", va="center", fontsize=8, color=GREY, zorder=4)
    for slot in range(nodes):
        x = 0.4 + 2.3 * slot
        axes.plot([x, x + 0.45], [-1.55, -1.55], color=SLOTS[slot], lw=2.4)
        axes.text(x + 0.58, -1.55, f"slot {slot} of its source", va="center", fontsize=9)
    return figure


def _edge(axes: Axes, start: float, end: float, edge: int, slot: int) -> None:
    gap = round((end - start) / 2.15)
    up = 1 if gap % 2 else -1
    rise = 0.0 if gap == 1 else up * (0.30 if gap == 3 else 0.34 if gap == 2 else -0.36)
    arrow = FancyArrowPatch(
        (start, 0), (end, 0), connectionstyle=f"arc3,rad={-rise}", arrowstyle="-|>", mutation_scale=11, shrinkA=29,
        shrinkB=29, color=SLOTS[slot], lw=1.8,
    )  # fmt: skip
    axes.add_patch(arrow)
    height = 0.5 * rise * (end - start)
    axes.text(
        (start + end) / 2, height, str(edge), ha="center", va="center", fontsize=9, color=SLOTS[slot],
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"}, zorder=5,
    )  # fmt: skip


def taps() -> list[tuple[int, int, int]]:
    """(convolution, rows, columns) of every packed tap, as `tap_place` has them."""
    found = [(2, tap // 3 - 1, tap % 3 - 1) for tap in range(9)]
    ring = [(h, w) for h in range(-2, 3) for w in range(-2, 3) if max(abs(h), abs(w)) == 2]
    found += [(2, h, w) for h, w in ring]
    return [*found, *((1, tap // 3 - 1, tap % 3 - 1) for tap in range(9)), (0, 0, 0)]


def taps_figure() -> Figure:
    """The three convolutions' taps, numbered in the order of the packed weights."""
    figure = Figure(figsize=(9.6, 3.7))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-3.6, 14.6), ylim=(-4.0, 3.0), aspect="equal")
    axes.axis("off")
    centres, colours = {2: 0.0, 1: 6.2, 0: 11.2}, {2: BLUE, 1: ORANGE, 0: "#009e73"}
    for number, (conv, row, col) in enumerate(taps()):
        shared = conv == 2 and number < 9 or conv == 1
        x, y = centres[conv] + col, -row
        axes.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, fc="#fdeede" if shared else "white", ec=colours[conv], lw=1.6)
        )
        axes.text(x, y, str(number), ha="center", va="center", fontsize=10)
    for conv, x in centres.items():
        size = CONV_SIZES[conv]
        axes.text(x, -2.9, f"{size}×{size}", ha="center", va="top", fontsize=11, color=colours[conv])
    axes.text(-2.5, -3.75, "shaded: one load of ReLU(x) feeds the 5×5 and the 3×3", fontsize=9.5, color=GREY)
    return figure


if __name__ == "__main__":
    save_figure(cell_figure(), IMAGES / "cell.png", 110)
    save_figure(taps_figure(), IMAGES / "taps.png", 110)
