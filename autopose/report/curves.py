"""Pictures of a run: the architecture (Fig. 4 of the paper), curves of a search (Fig. 6) and of a training, poses.

Letters: P people, K joints, H and W the image's sides. No state of pyplot is touched, no display is needed.
"""

import os
from collections.abc import Callable, Sequence
from math import isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from autopose.report.architecture_figure import BRANCH_COLOURS, DARK, GREY
from autopose.report.saving import save_figure

BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
PEOPLE = ("#e69f00", "#56b4e9", "#f0e442", "#cc79a7", "#00c08b", "#d55e00", "#3d8bfd")
HEADLINES = (("AP", "AR"), ("Mean", "Mean@0.1"), ("PCK",))
MAX_PIXELS = 16000
POSE_SIDE = 800


def draw_search_curves(rows: Sequence[dict], path: str | os.PathLike, metric: str = "AP") -> None:
    """Fig. 6: entropies of α and of the policy, rewards and losses over the epochs of a search.

    Args:
        rows: of ``metrics.jsonl``; keys and values that are missing leave gaps.
        path: of the picture; its suffix names the format.
        metric: what the reward measures, for the labels.
    """
    figure, axes = _panels(rows, 2, 2, "no epoch of the search is complete")
    if axes:
        _entropies(axes[0], rows)
        _policy(axes[1], rows)
        _rewards(axes[2], rows, metric)
        plot_curve(axes[3], rows, lambda row: row.get("loss_train"), BLUE, "weights' half (ω steps)")
        plot_curve(axes[3], rows, lambda row: row.get("loss_val"), ORANGE, "architecture's half (α steps)")
        finish(axes[3], "Losses of the supernet", "loss", log=True)
    save_figure(figure, path, 150)


def draw_training_curves(rows: Sequence[dict], path: str | os.PathLike) -> None:
    """Loss, validation metric and learning rate over the epochs of a training.

    Args:
        rows: of ``metrics.jsonl``: "epoch", "loss", "lr" and, in epochs that were validated, "metrics" with "AP"
            and "AR" (COCO), "Mean" and "Mean@0.1" (MPII) or "PCK".
        path: of the picture.
    """
    figure, axes = _panels(rows, 1, 3, "no epoch of the training is complete")
    if axes:
        plot_curve(axes[0], rows, lambda row: row.get("loss"), BLUE, "training loss")
        finish(axes[0], "Training loss", "loss", log=True)
        names = {name for row in rows for name in row.get("metrics") or ()}
        shown = [name for name in next((h for h in HEADLINES if h[0] in names), ()) if name in names]
        for name, colour in zip(shown, (GREEN, ORANGE), strict=False):
            plot_curve(axes[1], rows, lambda row, name=name: _metric(row, name), colour, name)
        if shown:
            plot_curve(axes[1], rows, lambda row: (row.get("constant_pose") or {}).get(shown[0]), GREY, "constant pose")
        finish(axes[1], "Validation", " / ".join(shown) or "metric")
        plot_curve(axes[2], rows, lambda row: row.get("lr"), DARK, "learning rate")
        finish(axes[2], "Learning rate", "learning rate", log=True)
    save_figure(figure, path, 150)


def draw_correlation(
    scores: Sequence[float], alone: Sequence[float], tau: float, names: tuple[str, str], path: str | os.PathLike
) -> None:
    """Scores by shared weights against those of the same networks trained alone.

    Args:
        scores, alone: one value a network.
        tau: Kendall's τ between them, NaN where it is undefined.
        names: of both axes.
        path: of the picture.
    """
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(scores, alone, ls="", marker="o", ms=7, color=BLUE, mec="white", alpha=0.85)
    finish(axes, f"Kendall τ = {tau:.2f} over {len(scores)} architectures", names[1])
    axes.set_xlabel(names[0], fontsize=9.5)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    save_figure(figure, path, 150)


def _entropies(axes: Axes, rows: Sequence[dict]) -> None:
    keys = sorted({key for row in rows for key in row.get("entropy_alpha") or () if key != "mean"})
    for i, key in enumerate(keys):
        name = f"{2 ** (int(key) + 2)}× branch" if key.isdigit() and int(key) < 16 else key
        colour = BRANCH_COLOURS[i % len(BRANCH_COLOURS)]
        plot_curve(axes, rows, lambda row, key=key: (row.get("entropy_alpha") or {}).get(key), colour, name, thin=True)
    plot_curve(axes, rows, lambda row: (row.get("entropy_alpha") or {}).get("mean"), "black", "mean")
    plot_curve(axes, rows, lambda row: row.get("entropy_noise"), GREY, "noise alone", dashed=True)
    finish(axes, "Entropy of α (operations)", "nats an edge")


def _policy(axes: Axes, rows: Sequence[dict]) -> None:
    plot_curve(axes, rows, lambda row: row.get("entropy_policy"), BLUE, "policy")
    _mark_start(axes, rows)
    finish(axes, "Entropy of the policy (branches)", "nats", empty="no policy in this search")


def _rewards(axes: Axes, rows: Sequence[dict], metric: str) -> None:
    plot_curve(axes, rows, lambda row: row.get("reward"), ORANGE, "reward (mean of sampled β)")
    label = f"supernet {metric} (reward subset), {_favourite(rows)}"
    epochs, values = plot_curve(axes, rows, lambda row: row.get("supernet_reward"), BLUE, label)
    noise = {row["epoch"]: row.get("reward_noise") for row in rows}
    band = np.array([noise[epoch] if _usable(noise[epoch]) else 0.0 for epoch in epochs])
    if band.any():
        axes.fill_between(epochs, values - band, values + band, color=BLUE, alpha=0.18, lw=0, label="its noise (±1 σ)")
    _mark_start(axes, rows)
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.45 * (high - low))  # Room for the legend, which is as wide as the panel.
    finish(axes, "Reward", metric)


def _favourite(rows: Sequence[dict]) -> str:
    """Whose reward the supernet's is."""
    if any("entropy_policy" in row for row in rows):
        trained = any(_usable(row.get("reward")) for row in rows)
        return "mode of the policy" if trained else "mode of the untrained policy"
    betas = {row.get("supernet_beta") for row in rows} - {None}
    return f"β {betas.pop()}" if len(betas) == 1 else "favourite β"


def _mark_start(axes: Axes, rows: Sequence[dict]) -> None:
    """A dotted line at the first epoch that trained the controller, if others came before."""
    trained = [row["epoch"] for row in rows if _usable(row.get("reward"))]
    if trained and trained[0] > rows[0]["epoch"]:
        axes.axvline(trained[0], color=GREY, lw=1, ls=":", label="controller starts")


def _metric(row: dict, name: str) -> float | None:
    value = (row.get("metrics") or {}).get(name)
    return None if value == -1 else value


def _usable(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def plot_curve(
    axes: Axes,
    rows: Sequence[dict],
    value: Callable[[dict], object],
    colour: str,
    label: str,
    thin: bool = False,
    dashed: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw what ``value`` finds in the rows, if anything; returns the epochs and the values drawn."""
    found = [(row["epoch"], value(row)) for row in rows if _usable(value(row))]
    epochs, values = np.array(found, float).reshape(-1, 2).T
    if found:
        size = 3.5 if len(found) <= 30 else 0
        width = 1.1 if thin else 1.9
        style = {"ls": "--", "marker": ""} if dashed else {"marker": "o", "ms": 0.7 * size if thin else size}
        axes.plot(epochs, values, color=colour, lw=width, label=label, **style)
    return epochs, values


def _panels(rows: Sequence[dict], height: int, width: int, empty: str) -> tuple[Figure, list[Axes]]:
    """A grid of panels, or a figure that says why there is none."""
    figure = Figure(figsize=(5.4 * width, 3.6 * height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)  # type: ignore[call-arg]
    if not rows:
        figure.text(0.5, 0.5, f"Nothing to draw yet: {empty}.", ha="center", va="center", fontsize=13, color=DARK)
        return figure, []
    return figure, list(figure.subplots(height, width).flat)


def finish(axes: Axes, title: str, unit: str, log: bool = False, empty: str = "no values") -> None:
    """Title, unit, grid and legend of a panel whose curves are drawn.

    Args:
        log: a log scale where it helps.
        empty: said where there is no curve.
    """
    axes.set_title(title, fontsize=11, loc="left", fontweight="bold", color=DARK)
    axes.set_xlabel("epoch", fontsize=9.5)
    axes.set_ylabel(unit, fontsize=9.5)
    axes.tick_params(labelsize=9)
    axes.grid(color="#e4e6e9", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=(1, 2, 5, 10)))
    if not axes.lines:
        axes.text(0.5, 0.5, empty, transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.set(xticks=[], yticks=[])
        return
    if log:
        _logarithmic(axes)
    low, high = axes.get_ylim()
    if high - low < 1e-4 * abs(high):  # Rounding is no curve, and its ticks cannot be read.
        axes.set_ylim(low - 0.01 * abs(low), high + 0.01 * abs(high))
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=8.5, frameon=True, framealpha=0.85, edgecolor="none")


def _logarithmic(axes: Axes) -> None:
    """Log scale where the values span enough of it to be read there: a factor of two."""
    values = np.concatenate([line.get_ydata() for line in axes.lines])
    values = values[values > 0]
    if len(values) and values.max() >= 2 * values.min():
        axes.set_yscale("log", nonpositive="mask")
        few = values.max() < 30 * values.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if few else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
