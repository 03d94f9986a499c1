"""``report.html``: one page for a run, or for several that belong together."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from autopose.evaluation.scoring import CONSTANT
from autopose.report import page
from autopose.report.summary import read_summary

FILE = "report.html"


def write_run_page(folders: Sequence[Path], path: Path) -> None:
    """Write the page of runs that ended, the last one's title and headline on top.

    Args:
        folders: of the runs, in the order of the story (search, train, evaluate).
        path: of the page.

    Raises:
        UserError: a folder without ``run.json``, or a page that cannot be written.
    """
    runs = [(folder, read_summary(folder)) for folder in folders]
    last = runs[-1][1]
    parts = [f"<h1>{page.escape(last['title'])}</h1>"]
    parts.append(page.paragraph(f"{last['name']}, {last['finished']}, {last['machine']['device']}", soft=True))
    headline: dict[str, str] = {}
    for _, run in runs:
        headline |= run["headline"]
    parts.append(page.facts(headline))
    for folder, run in runs:
        if len(runs) > 1:
            parts.append(page.heading(f"{run['task'].capitalize()}: {run['title']}"))
        parts += run_parts(folder, run)
    if last["next"]:
        parts += [page.heading("What to do next"), page.command(last["next"])]
    page.write_page(path, f"AutoPose: {last['title']}", parts)


def run_parts(folder: Path, run: dict) -> list[str]:
    """The sections of one run."""
    parts = [page.command(run["command"])] if run["command"] else []
    parts.append(page.definitions(run["facts"]))
    for score in run["scores"]:
        parts += _score_parts(score)
    for file, caption in run["figures"]:
        if (folder / file).is_file():
            parts.append(page.picture(folder / file, caption, figure="/" not in file))
    for given in run["tables"]:
        parts += [page.subheading(given["title"]), page.table(given["header"], given["rows"])]
    return [*parts, *_clock_parts(run)]


def _score_parts(score: dict) -> list[str]:
    parts = [page.subheading(score["title"])]
    header = ["", *(name for name, _ in score["columns"])]
    rows = [["network", *(decimal(value) for _, value in score["columns"])]]
    if score["constant"]:
        rows.append([CONSTANT, *map(decimal, score["constant"])])
    parts.append(page.table(header, rows))
    counts = ", ".join(f"{count} {what}" for what, count in score["counts"].items())
    parts.append(page.definitions({**score["protocol"], "counted": counts}))
    joints = {name: value for name, value in score["by_joint"].items() if isfinite(value)}
    if joints:
        shown = {name: f"{value:.1f} %" for name, value in joints.items()}
        parts += [page.subheading("By joint"), page.bars(joints, shown, full=100.0)]
    return parts


def _clock_parts(run: dict) -> list[str]:
    clock = run["clock"]
    phases = {name: value for name, value in clock["phases"].items() if value >= 0.01 * clock["seconds"]}
    shown = {name: f"{duration(value)} ({100 * value / clock['seconds']:.0f} %)" for name, value in phases.items()}
    facts = {"took": duration(clock["seconds"]), "peak memory": memory_text(clock), **run["machine"]}
    return [page.subheading("Where time and memory went"), page.bars(phases, shown), page.definitions(facts)]


def memory_text(clock: Mapping) -> str:
    """The peaks of a ``Clock.report()``."""
    peak, device = clock["peak_memory"], clock["peak_device_memory"]
    text = "not measured here" if peak is None else f"{peak / 2**30:.2f} GiB"
    return text if device is None else f"{text}, on the device {device / 2**30:.2f} GiB"


def decimal(value: float) -> str:
    """Three decimals; n/a where nothing was annotated (NaN, or COCO's -1)."""
    return f"{value:.3f}" if isfinite(value) and value != -1 else "n/a"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
