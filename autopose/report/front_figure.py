"""The figure of a front: score against cost of random, hand-made and evolved architectures."""

import os
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from autopose.nas.front import Point, front_of
from autopose.report.architecture_figure import DARK, GREY
from autopose.report.comparison_figure import COLOURS
from autopose.report.curves import finish
from autopose.report.saving import save_figure


def draw_front(points: Sequence[Point], unit: str, score: str, path: str | os.PathLike) -> None:
    """Draw all points and the step line of the front.

    Args:
        points: of every kind.
        unit: of the cost; score: the name of the reward.
        path: of the picture.
    """
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axes = figure.subplots()
    for kind, colour, size in (("random", GREY, 4), ("evolved", COLOURS[0], 4)):
        some = [point for point in points if point.kind == kind]
        axes.plot([p.cost for p in some], [p.score for p in some], ls="", marker="o", ms=size, color=colour, mec="none",
                  alpha=0.6, label=f"{kind} ({len(some)})")  # fmt: skip
    front = front_of(points)
    axes.step([p.cost for p in front], [p.score for p in front], where="post", color=COLOURS[1], lw=1.8, label="front")
    for number, point in enumerate(p for p in points if p.kind not in ("random", "evolved")):
        axes.plot(point.cost, point.score, ls="", marker="sD^"[number % 3], ms=8, color=COLOURS[2 + number], mec=DARK,
                  label=point.kind)  # fmt: skip
    finish(axes, "Supernet's score against cost", score)
    axes.set_xlabel(unit, fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8.5, frameon=False)
    save_figure(figure, path, 150)
