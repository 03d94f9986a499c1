"""Runs side by side: one page and one picture. What differs among their protocols, data and sizes is said in words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from string import ascii_uppercase

from autopose.errors import UserError
from autopose.report import page
from autopose.report.comparison_figure import draw_comparison
from autopose.report.run_page import decimal, duration
from autopose.report.summary import read_summary

FILE, PICTURE = "comparison.html", "comparison.png"
# Of a score's protocol, what belongs to it but changes no number of another run's.
SIZES = ("size", "network")


@dataclass(frozen=True)
class Run:
    """One run of a comparison.

    Attributes:
        label: a letter and the run's name, its folder's where names are alike; folder: where it is.
        summary: ``run.json``; rows: of ``metrics.jsonl``, none where there is no such file.
    """

    label: str
    folder: Path
    summary: dict
    rows: list[dict]

    @property
    def size(self) -> str | None:
        """Multiply-adds and parameters of its network in words."""
        return next((self.summary["facts"][key] for key in SIZES if key in self.summary["facts"]), None)

    def score(self, title: str) -> dict | None:
        """Its score of that title."""
        return next((score for score in self.summary["scores"] if score["title"] == title), None)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs of folders, lettered in their order.

    Raises:
        UserError: fewer than two, more than 26, one twice, or one that has not ended.
    """
    if not 2 <= len(folders) <= len(ascii_uppercase):
        raise UserError(f"a comparison is of 2 to {len(ascii_uppercase)} runs, but {len(folders)} were given")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("a folder was given twice: name every run once")
    summaries = [read_summary(folder) for folder in folders]
    names = [summary["name"] for summary in summaries]
    places = [folder.resolve().name for folder in folders]
    # Runs of one experiment share its name: folders that a person named tell them apart, those named by time do not.
    names = [
        name if names.count(name) == 1 or places.count(place) > 1 or place[:1].isdigit() else place
        for name, place in zip(names, places, strict=True)
    ]
    return [
        Run(f"{letter} {name}", folder, summary, _rows(folder / "metrics.jsonl"))
        for letter, name, folder, summary in zip(ascii_uppercase, names, folders, summaries, strict=False)
    ]


def write_comparison(folders: Sequence[Path], path: Path) -> None:
    """Write the page to ``path`` and its picture beside it, with the suffix ``.png``."""
    runs = read_runs(folders)
    picture = path.with_suffix(".png")
    draw_comparison(runs, titles(runs), picture)
    parts = [f"<h1>{len(runs)} runs side by side</h1>"]
    parts.append(page.table(["", *_ABOUT], [[run.label, *_about(run)] for run in runs]))
    parts.append(page.heading("What to mind before comparing numbers"))
    parts += [page.paragraph(sentence) for sentence in differences(runs)]
    for title in titles(runs):
        parts += _score_parts(title, runs)
    parts += [page.heading("Curves"), page.picture(picture, "All runs in one picture.")]
    parts.append(page.heading("Architectures and predictions"))
    for run in runs:
        for file, caption in run.summary["figures"]:
            if (run.folder / file).is_file() and not file.endswith("_curves.png"):
                parts.append(page.picture(run.folder / file, f"{run.label}: {caption}"))
    page.write_page(path, "AutoPose: runs side by side", parts)


def titles(runs: Sequence[Run]) -> list[str]:
    """Titles of all scores, in the order in which they come."""
    return list(dict.fromkeys(score["title"] for run in runs for score in run.summary["scores"]))


def differences(runs: Sequence[Run]) -> list[str]:
    """Sentences on what differs among the runs' data, protocols and sizes; one sentence where nothing does."""
    found = []
    sets = {run.label: run.summary["facts"].get("data set") for run in runs if run.summary["scores"]}
    found += _unlike("The runs were scored on different data sets", sets)
    for title in titles(runs):
        scores = {run.label: score for run in runs if (score := run.score(title))}
        counts = {label: ", ".join(f"{n} {what}" for what, n in s["counts"].items()) for label, s in scores.items()}
        found += _unlike(f"{title} is over different numbers", counts)
        for key in dict.fromkeys(key for score in scores.values() for key in score["protocol"]):
            values = {label: score["protocol"].get(key, "not said") for label, score in scores.items()}
            found += _unlike(f"{title}: the protocol differs in {key}", values)
        absent = [run.label for run in runs if run.summary["scores"] and run.label not in scores]
        if absent:
            found.append(f"{title} was not measured by {', '.join(absent)}.")
    unscored = [run.label for run in runs if not run.summary["scores"]]
    if unscored:
        found.append(f"No network was scored by {', '.join(unscored)}: a search's reward is by shared weights.")
    found += _unlike("The networks differ in size", {run.label: run.size for run in runs if run.size})
    found += _unlike("They ran on different machines", {run.label: run.summary["machine"]["device"] for run in runs})
    return found or ["The runs have the same protocol, data and size of network: their numbers can be compared."]


def _unlike(what: str, values: dict) -> list[str]:
    """One sentence, unless all values are equal."""
    if len(set(values.values())) < 2:
        return []
    return [f"{what}: " + "; ".join(f"{label}: {value or 'not said'}" for label, value in values.items()) + "."]


_ABOUT = ("command", "finished", "took", "network", "folder")


def _about(run: Run) -> list[str]:
    summary = run.summary
    size = (run.size or "").split(" (")[0]
    return [summary["task"], summary["finished"], duration(summary["clock"]["seconds"]), size, str(run.folder)]


def _score_parts(title: str, runs: Sequence[Run]) -> list[str]:
    """A row a run and, below it, its constant pose where that is another than the row before's."""
    scores = [(run.label, score) for run in runs if (score := run.score(title))]
    header = list(dict.fromkeys(name for _, score in scores for name, _ in score["columns"]))
    rows, constants = [], []
    for label, score in scores:
        rows.append([label, *_cells(header, dict(score["columns"]))])
        if score["constant"]:
            names = [name for name, _ in score["columns"]]
            constants.append(
                [f"constant pose of {label[0]}", *_cells(header, dict(zip(names, score["constant"], strict=True)))]
            )
    if len({tuple(row[1:]) for row in constants}) == 1:
        constants = [["constant pose", *constants[0][1:]]]
    protocol = {key: value for key, value in scores[0][1]["protocol"].items() if _shared(key, value, scores)}
    return [page.heading(title), page.table(["", *header], rows + constants), page.definitions(protocol)]


def _shared(key: str, value: str, scores: Sequence[tuple[str, dict]]) -> bool:
    return all(score["protocol"].get(key) == value for _, score in scores)


def _cells(header: Sequence[str], values: dict) -> list[str]:
    return [decimal(values[name]) if _number(values.get(name)) else "n/a" for name in header]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _rows(path: Path) -> list[dict]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {str(error)[:100]}") from None
