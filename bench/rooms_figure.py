"""Draws the rooms of the package and who imports whom: ``python -m bench.rooms_figure`` writes docs/images/rooms.png.

Arrows are read from the imports, so the picture is the code's; rooms stand in the order in which they may import.
"""

import ast
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from autopose.report.saving import save_figure

ROOT = Path(__file__).resolve().parents[1]
ROWS = (
    (("commands", "search, derive, train, evaluate,\npredict, …: thin entry points"),),
    (("pool", "many architectures trained\nalike, and their table"),),
    (
        ("prediction", "pictures, videos, boxes,\ntracking"),
        ("engine", "loops: search, training,\nreward, health"),
        ("deploy", "files that run without\nthis software, latency"),
    ),
    (("report", "curves, poses, pages,\nwhat is printed"), ("evaluation", "heatmaps to poses,\nscores, result files")),
    (("runs", "processes, checkpoints,\nrecords, data by name"),),
    (("config", "typed, frozen,\nevery default"),),
    (("nas", "α, controller, Algorithm 1,\nderivation"), ("data", "datasets, crops, targets,\nconversion, checks")),
    (("models", "Cell, module, PoseNetwork,\nstem, head, loss"), ("metrics", "OKS, AP, PCK,\npure functions")),
    (("kernels", "fused operators and\ntheir references"), ("space", "the search space\nas plain data")),
)
WIDTH, HEIGHT, STEP = 3.0, 0.8, 1.35


def imports(folder: Path, own: str) -> set[str]:
    """Rooms that the files of a room import."""
    found = set()
    files = folder.glob("*.py") if own == "commands" else folder.rglob("*.py")
    for path in (file for file in files if own == "commands" or file.name != "__main__.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if names == ["autopose"]:
                names = [f"autopose.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith("autopose.")}
    return found - {own}


def folder_of(room: str) -> Path:
    """Where a room lies."""
    return ROOT / "kernels" if room == "kernels" else ROOT / "autopose" / ("" if room == "commands" else room)


def direct(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that a way over other rooms stands for already."""

    def reached(room: str) -> set[str]:
        return arrows[room].union(*(reached(other) for other in arrows[room]))

    return {
        room: {o for o in found if not any(o in reached(via) for via in found - {o})} for room, found in arrows.items()
    }


def rooms_figure() -> Figure:
    """Rooms as boxes, the highest importers above; an arrow from a room to those it imports, if no way leads there."""
    places = {}
    for level, row in enumerate(ROWS):
        for n, (name, _) in enumerate(row):
            x = {1: (5.0,), 2: (2.4, 7.6), 3: (1.7, 5.0, 8.3)}[len(row)][n]
            places[name] = (x, -STEP * level)
    figure = Figure(figsize=(10, 10.6))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(-STEP * len(ROWS) + 0.5, 0.8))
    axes.axis("off")
    arrows = direct({name: imports(folder_of(name), name) & set(places) for name in places})
    for name, (x, y) in places.items():
        for other in sorted(arrows[name]):
            x1, y1 = places[other]
            style = {"arrowstyle": "-|>", "color": "#9aa3ad", "lw": 1.1, "shrinkA": 0, "shrinkB": 0}
            style["connectionstyle"] = f"arc3,rad={0.12 if x1 >= x else -0.12}"
            axes.annotate("", (x1, y1 + HEIGHT / 2), (x, y - HEIGHT / 2), arrowprops=style, zorder=1)
    for row in ROWS:
        for name, text in row:
            x, y = places[name]
            box = FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1"
            )
            box.set(fc="#eef5f8", ec="#0b6e99", lw=1.3, zorder=2)
            axes.add_patch(box)
            axes.text(x, y + 0.2, name, ha="center", va="center", fontsize=12, fontweight="bold", zorder=3)
            axes.text(x, y - 0.14, text, ha="center", va="center", fontsize=8.5, color="#444b54", zorder=3)
    return figure


if __name__ == "__main__":
    save_figure(rooms_figure(), ROOT / "docs" / "images" / "rooms.png", 80)
