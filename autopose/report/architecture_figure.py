"""The picture of an architecture: network level above (Fig. 4 of the paper), the cells of every branch below.

Coordinates are px of a picture 1600 px wide, y down. Letters: B branches.
"""

import os
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from autopose.report.saving import save_figure
from autopose.space import OPS, Architecture, Genotype, operation

DARK, GREY, SHADE = "#2b2f36", "#8d949e", "#f4f5f7"
# Fine scales light, coarse ones dark; apart from the operations' palette.
BRANCH_COLOURS = ("#9bd3bf", "#5bb498", "#2c8f74", "#166a56", "#0a4336")
CELL_NAMES = {"individual_1": "$C_{I1}$", "individual_2": "$C_{I2}$", "aggregation": "$C_M$"}

MARGIN, ROW, BLOCK = 40, 74, 38
# Top of the branches' rows; room left (branch names, stem) and right (head, "heatmaps") of the modules.
TOP, LEFT, RIGHT = 150, 195, 250
LEGEND_COLUMNS, LEGEND_ROW, LEGEND_TITLE = 6, 26, 20
NARROW, WIDE, MODULE_MIN, MODULE_WISH = 1200, 1600, 130, 210


def draw_architecture(architecture: Architecture, path: str | os.PathLike) -> None:
    """Network level and cells of an architecture; UserError where ``path`` cannot be written."""
    save_figure(architecture_figure(architecture), path, 150)


def architecture_figure(architecture: Architecture) -> Figure:
    """Draw modules as columns and branches as rows; under them a table of operations for every cell."""
    space = architecture.macro_space
    modules, groups = space.num_modules, _cell_groups(architecture)
    width = min(max(LEFT + RIGHT + MODULE_WISH * modules, 370 * space.num_branches, NARROW), WIDE)
    width = max(width, LEFT + RIGHT + MODULE_MIN * modules)
    square = _square(architecture, groups, (width - 2 * MARGIN) / space.num_branches)
    cells_top = TOP + ROW * space.num_branches + 90
    legend = legend_places(architecture)
    tables_top = cells_top + 118 + LEGEND_ROW * legend[-1][2]
    heights = [_nodes(architecture, names) * square + 66 for names in groups]
    height = tables_top + sum(heights) - 36
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    _text(axes, MARGIN, 36, "Architecture", 17, weight="bold")
    _text(axes, MARGIN, 68, _origin(architecture.found_by), 11, colour=GREY)
    _draw_network(axes, architecture, width)
    _draw_legend(axes, cells_top, legend, space.aggregation == "concat")
    y = tables_top
    for names, tall in zip(groups, heights, strict=True):
        _draw_cells(axes, architecture, names, y, square, width)
        y += tall
    return figure


def _text(axes: Axes, x: float, y: float, text: str, size: float, colour: str = DARK, weight: str = "normal", **where):
    """Text as given: a dollar sign in a data set's name starts no formula, except in names of cells."""
    where = {"ha": "left", "va": "center", "parse_math": False, **where}
    axes.text(x, y, text, fontsize=size, color=colour, fontweight=weight, **where)


def _origin(found_by: dict) -> str:
    """How it was found, from whatever ``found_by`` holds."""
    parts = []
    names = {"builtin": "built-in", "algorithm": "found by", "dataset": "on", "seed": "seed", "step": "iterations"}
    for key, name in names.items():
        if isinstance(found_by.get(key), str | int):
            parts.append(f"{name} {found_by[key]}" if key != "step" else f"{found_by[key]} iterations")
    reward = found_by.get("reward")
    if isinstance(reward, int | float):
        metric, split = found_by.get("reward_metric", "reward"), found_by.get("reward_split")
        parts.append(f"reward {reward:.4f} ({metric}" + (f", {split} split)" if split else ")"))
    return "  ·  ".join(part[:60] for part in parts) or "origin not recorded"


def _draw_network(axes: Axes, architecture: Architecture, width: float) -> None:
    space = architecture.macro_space
    column = min((width - LEFT - RIGHT) / space.num_modules, 300)
    left, right = LEFT, LEFT + column * space.num_modules
    rows = [TOP + ROW * (b + 0.5) for b in range(space.num_branches)]
    for b, y in enumerate(rows):
        _text(axes, left - 112, y - 8, f"{space.scales[b]}×", 13, weight="bold", ha="right")
        _text(axes, left - 112, y + 12, f"{space.channels[b]} ch", 9, GREY, ha="right")
    for x, name in ((left - 96, "stem"), (right + 40, "head")):
        _block(axes, x, rows[0] - 26, 56, rows[-1] - rows[0] + 52, "#5c6470", name, 12)
    for y in rows:
        axes.plot([left - 40, left], [y, y], color=DARK, lw=1.6, zorder=2, solid_capstyle="butt")
        _arrow(axes, right, y, right + 40)
    _arrow(axes, right + 96, rows[0], right + 126)
    _text(axes, right + 132, rows[0], "heatmaps", 10)
    for module in range(space.num_modules):
        active = architecture.macro.rows[space.decision_of(module)]
        _draw_module(axes, left + column * module, column, rows, active, "M" if space.aggregation == "cell" else "cat")
    _draw_headers(axes, architecture, left, column, rows[-1])


def _draw_headers(axes: Axes, architecture: Architecture, left: float, column: float, bottom: float) -> None:
    space, beta = architecture.macro_space, architecture.macro.rows
    rows = ["".join(str(int(on)) for on in row) for row in beta]
    for stage in range(space.num_stages):
        x0 = left + column * stage * space.modules_per_stage
        x1 = x0 + column * space.modules_per_stage
        name = f"Stage {stage + 1}"
        if space.beta_sharing == "stage":
            name += f"   β = {rows[stage]}"
        _text(axes, (x0 + x1) / 2, TOP - 44, name, 12, weight="bold", ha="center")
        axes.plot([x0 + 6, x1 - 6], [TOP - 26] * 2, color=DARK, lw=1.6)
    for module in range(space.num_modules):
        middle = left + column * (module + 0.5)
        _text(axes, middle, bottom + ROW / 2 + 24, f"module {module + 1}", 9.5, GREY, ha="center")
        if space.beta_sharing == "module":
            _text(axes, middle, bottom + ROW / 2 + 44, f"β = {rows[module]}", 10, ha="center")


def _draw_module(
    axes: Axes, x: float, column: float, rows: Sequence[float], active: Sequence[bool], merger: str
) -> None:
    """Two individual cells, the lines of the aggregation, and C_M on every active branch; a thin line elsewhere."""
    block = min(BLOCK, 0.18 * column)
    axes.add_patch(Rectangle((x + 4, TOP - 10), column - 8, ROW * len(rows) + 20, fc=SHADE, ec="none", zorder=0))
    first, second, merge = x + 12, x + 18 + block, x + column - 12 - block
    ready = second + block
    for target, on in enumerate(active):
        y = rows[target]
        axes.plot(
            [x, x + column], [y, y], color=DARK if on else GREY, lw=1.6 if on else 0.9, zorder=2, solid_capstyle="butt"
        )
        for source, start in enumerate(rows):
            if on and source != target:
                _curve(axes, ready, start, merge, y, BRANCH_COLOURS[source])
    for b, (y, on) in enumerate(zip(rows, active, strict=True)):
        if on:
            _arrow(axes, merge - 8, y, merge)
            for left, name in ((first, "I1"), (second, "I2"), (merge, merger)):
                _block(axes, left, y - block / 2, block, block, BRANCH_COLOURS[b], name, 10 if block > 33 else 8)


def _curve(axes: Axes, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
    middle = (x0 + x1) / 2
    outline = Outline([(x0, y0), (middle, y0), (middle, y1), (x1, y1)], [Outline.MOVETO] + [Outline.CURVE4] * 3)
    axes.add_patch(PathPatch(outline, fc="none", ec=colour, lw=1.0, alpha=0.75, zorder=1))


def _arrow(axes: Axes, x0: float, y: float, x1: float) -> None:
    style = {"arrowstyle": "-|>", "color": DARK, "lw": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 10}
    axes.annotate("", (x1, y), (x0, y), arrowprops=style, zorder=2)


def _block(axes: Axes, x: float, y: float, width: float, height: float, colour: str, name: str, size: float) -> None:
    style = "round,pad=0,rounding_size=5"
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, fc=colour, ec="none", zorder=3))
    _text(axes, x + width / 2, y + height / 2, name, size, _ink(colour), ha="center", zorder=4)


def _ink(colour: str) -> str:
    """Black or white, whichever reads better on a colour."""
    red, green, blue = to_rgb(colour)
    return DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"


def _cell_groups(architecture: Architecture) -> list[tuple[str, ...]]:
    """Rows of tables: the individual cells once where they agree on all branches, then the aggregation cells."""
    alike = all(cells["individual_1"] == cells["individual_2"] for cells in architecture.cells)
    groups = [("individual_1", "individual_2")] if alike else [("individual_1",), ("individual_2",)]
    return groups + ([("aggregation",)] if "aggregation" in architecture.cells[0] else [])


def _nodes(architecture: Architecture, names: Sequence[str]) -> int:
    return architecture.cells[0][names[0]].num_nodes


def _square(architecture: Architecture, groups: Sequence[Sequence[str]], room: float) -> float:
    """Side of a table's square so that the widest table fits ``room``."""
    cells = [architecture.cells[0][names[0]] for names in groups]
    columns = max(cell.num_inputs + cell.num_nodes - 1 for cell in cells)
    return max(min(42.0, (room - 70) / columns), 2.0)


def legend_places(architecture: Architecture) -> list[tuple[str, int, int]]:
    """(name, column, row) of the six operations and of other packages' in use; a long title takes two columns."""
    used = (op for cells in architecture.cells for cell in cells.values() for op in cell.ops)
    places, column, row = [], 0, 0
    for name in dict.fromkeys((*OPS, *used)):
        columns = 1 if len(operation(name).title) <= LEGEND_TITLE else 2
        if column + columns > LEGEND_COLUMNS:
            column, row = 0, row + 1
        places.append((name, column, row))
        column += columns
    return places


def _draw_legend(axes: Axes, y: float, places: Sequence[tuple[str, int, int]], concat: bool) -> None:
    _text(axes, MARGIN, y, "Cells", 14, weight="bold")
    note = "a row for each node n0, n1, …; a column for each tensor it reads: input or branches, then earlier nodes"
    note += "; cat: concatenation and 1×1 convolution" if concat else ""
    _text(axes, MARGIN + 66, y + 2, note, 10, GREY)
    for name, column, row in places:
        x, top, op = MARGIN + 190 * column, y + 26 + LEGEND_ROW * row, operation(name)
        axes.add_patch(Rectangle((x, top), 18, 18, fc=op.colour, ec="none"))
        _text(axes, x + 26, top + 10, op.title, 10)


def _draw_cells(
    axes: Axes, architecture: Architecture, names: Sequence[str], y: float, square: float, width: float
) -> None:
    space, beta = architecture.macro_space, architecture.macro.rows
    room = min((width - 2 * MARGIN) / space.num_branches, 480)
    title = " = ".join(CELL_NAMES[name] for name in names)
    for b, cells in enumerate(architecture.cells):
        used = any(row[b] for row in beta)
        x = MARGIN + room * b
        heading = f"{title}  of {space.scales[b]}×" + ("" if used else "  (never active)")
        _text(axes, x, y - 34, heading, 11.5, DARK if used else GREY, parse_math=True)
        genotype = cells[names[0]]
        inputs = [f"{scale}×" for scale in space.scales] if names[0] == "aggregation" else ["in"]
        _draw_table(axes, genotype, inputs, x + 30, y, square, 1.0 if used else 0.35)


def _draw_table(
    axes: Axes, genotype: Genotype, inputs: Sequence[str], x: float, y: float, square: float, strength: float
) -> None:
    """Nodes by predecessors, a coloured square an edge."""
    named = square >= 26
    ops = iter(genotype.ops)
    heads = [*inputs, *(f"n{node}" for node in range(genotype.num_nodes - 1))]
    for column, name in enumerate(heads if named else ()):
        _text(axes, x + square * (column + 0.5), y - 10, name, 9, GREY, ha="center")
    for node in range(genotype.num_nodes):
        top = y + square * node
        if named:
            _text(axes, x - 6, top + square / 2, f"n{node}", 9, GREY, ha="right")
        for column in range(len(inputs) + node):
            op = operation(next(ops))
            corner = (x + square * column, top)
            fill = {"fc": op.colour, "ec": "white", "lw": 1.5 if named else 0.3, "alpha": strength}
            axes.add_patch(Rectangle(corner, square, square, **fill))
            if named:
                ink = _ink(op.colour) if strength == 1 else DARK
                middle = (corner[0] + square / 2, top + square / 2)
                _text(axes, *middle, op.label, 9, ink, ha="center", alpha=1.0 if strength == 1 else 0.6)
