"""The picture of a comparison: scores as bars, curves of all runs in shared panels, architectures below."""

from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from autopose.report.architecture_figure import DARK, GREY
from autopose.report.curves import HEADLINES, finish, plot_curve
from autopose.report.saving import save_figure

if TYPE_CHECKING:
    from autopose.report.comparison import Run

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#6b6b6b")
WIDTH, PANEL = 13.0, 3.4


def draw_comparison(runs: "Sequence[Run]", titles: Sequence[str], path: Path) -> None:
    """Draw the runs; panels for which no run has values are left out."""
    panels: list[Callable[[Axes], None]] = [lambda axes, t=title: _bars(axes, runs, t) for title in titles]
    for title, unit, value in CURVES:
        if any(_usable(value(row)) for run in runs for row in run.rows):
            panels.append(lambda axes, c=(title, unit, value): _curves(axes, runs, *c))
    drawn = [(run.label, run.folder / "architecture.png") for run in runs]
    drawn = [(label, file) for label, file in drawn if file.is_file()]
    rows, places = -(-len(panels) // 3) or 1, max(len(drawn), 1)
    images = [imread(file) for _, file in drawn]
    heights = [PANEL * rows]
    if images:
        heights.append(0.5 + WIDTH / places * max(image.shape[0] / image.shape[1] for image in images))
    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    above, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for n, draw in enumerate(panels):
        draw(above.add_subplot(rows, min(3, len(panels)), n + 1))
    if not panels:
        above.text(0.5, 0.5, "These runs have neither scores nor curves.", ha="center", va="center", color=DARK)
    for n, ((label, _), image) in enumerate(zip(drawn, images, strict=True)):
        axes = below[0].add_subplot(1, places, n + 1)
        axes.imshow(image)
        axes.set_title(label, fontsize=10, color=DARK)
        axes.axis("off")
    save_figure(figure, path, 130)


def _metric(row: dict) -> float | None:
    """What a validated epoch is headed by."""
    metrics = row.get("metrics") or {}
    value = next((metrics[name] for names in HEADLINES for name in names[:1] if name in metrics), None)
    return None if value == -1 else value


CURVES = (
    ("Training loss", "loss", lambda row: row.get("loss")),
    ("Validation", "AP, or PCK(h) in %", _metric),
    ("Supernet's loss", "loss of ω's half", lambda row: row.get("loss_train")),
    ("Reward of the favourite β", "reward", lambda row: row.get("supernet_reward")),
    ("Entropy of α", "nats an edge", lambda row: (row.get("entropy_alpha") or {}).get("mean")),
    ("Entropy of the policy", "nats", lambda row: row.get("entropy_policy")),
)


def _curves(axes: Axes, runs: "Sequence[Run]", title: str, unit: str, value: Callable[[dict], object]) -> None:
    for n, run in enumerate(runs):
        plot_curve(axes, run.rows, value, COLOURS[n % len(COLOURS)], run.label)
    finish(axes, title, unit, log="loss" in unit)


def _bars(axes: Axes, runs: "Sequence[Run]", title: str) -> None:
    """The first column of a score (the last of a table by joint groups, its mean), the constant pose as a line."""
    found = [(n, run.label, score) for n, run in enumerate(runs) if (score := run.score(title))]
    names = [name for name, _ in found[0][2]["columns"]]
    column = "Mean" if "Mean" in names else names[0]
    for place, (n, _, score) in enumerate(found):
        value = dict(score["columns"]).get(column)
        if not _usable(value):
            continue
        axes.bar(place, value, 0.62, color=COLOURS[n % len(COLOURS)])
        axes.text(place, value, f"{value:.3g}", ha="center", va="bottom", fontsize=9, color=DARK)
        if score["constant"]:
            constant = dict(zip((name for name, _ in score["columns"]), score["constant"], strict=True)).get(column)
            if _usable(constant):
                label = None if axes.get_legend_handles_labels()[1] else "constant pose"
                axes.plot([place - 0.31, place + 0.31], [constant] * 2, color=GREY, lw=2, ls="--", label=label)
    axes.set_xticks(range(len(found)), [label for _, label, _ in found], fontsize=9)
    axes.set_title(f"{title.split(' of ')[0]}: {column}", fontsize=10, loc="left", fontweight="bold", color=DARK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.15)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]) if axes.dataLim.y0 < 0 else 0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=8.5, frameon=False)


def _usable(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value) and value != -1
