"""Rows of measurements: CSV file, table and bar chart (``python -m bench.report results.csv chart.png``)."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

COLUMNS = (
    "operator", "variant", "step", "batch", "provider", "status", "p20_ms", "p50_ms", "p80_ms", "rounds", "speedup",
    "bandwidth_share", "flops_share", "cpu", "cores", "threads", "gpu", "python", "torch", "triton",
)  # fmt: skip
CASE = ("operator", "variant", "step", "batch")


class Results:
    """Rows written to ``path`` as they come, so that a run that is cut short leaves what it measured."""

    def __init__(self, path: Path, append: bool = False):
        self.path, self.rows = path, []
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (append and path.exists()):
            with path.open("w", newline="") as file:
                csv.DictWriter(file, COLUMNS).writeheader()

    def add(self, rows: Sequence[dict]) -> None:
        self.rows += rows
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerows(rows)


def read(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[dict]) -> str:
    """Markdown: a line a case, a column a provider: median in ms and how many times faster than the reference."""
    names = list(dict.fromkeys(row["provider"] for row in rows))
    cases: dict[tuple, dict] = {}
    for row in rows:
        cases.setdefault(tuple(str(row[c]) for c in CASE), {})[row["provider"]] = row
    lines = [f"| case | {' | '.join(names)} |", "| --- |" + " --: |" * len(names)]
    for (operator, variant, step, batch), found in cases.items():
        cells = [_cell(found.get(name)) for name in names]
        lines.append(f"| {operator} {variant}, {step}, batch {batch} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict | None) -> str:
    if row is None:
        return "-"
    if row["status"] != "timed":
        return row["status"].split(":")[0]
    speedup = f" ({float(row['speedup']):.2f}x)" if row["speedup"] not in ("", None) else ""
    return f"{float(row['p50_ms']):.3g}{speedup}"


def in_chart(row: dict) -> bool:
    """Whether the chart has a bar for a row: steps that were timed beside the reference."""
    return row["status"] == "timed" and row["step"] == "step" and row["speedup"] not in ("", None)


def chart(rows: Sequence[dict], path: Path) -> None:
    """Bars: speed-up over the reference of every provider, for the steps of every case."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    timed = [row for row in rows if in_chart(row)]
    cases = list(dict.fromkeys(tuple(str(r[c]) for c in CASE) for r in timed))
    names = list(dict.fromkeys(r["provider"] for r in timed))
    values = {(tuple(str(r[c]) for c in CASE), r["provider"]): float(r["speedup"]) for r in timed}
    figure, axes = pyplot.subplots(figsize=(9, 1.5 + 0.12 * len(cases) * (len(names) + 1)), layout="constrained")
    height = 0.8 / len(names)
    for index, name in enumerate(names):
        at = [row + index * height for row in range(len(cases))]
        axes.barh(at, [values.get((case, name), 0) for case in cases], height, label=name)
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(cases))])
    axes.set_yticklabels([f"{operator} {variant}, batch {batch}" for operator, variant, _, batch in cases])
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    hardware = timed[0]["gpu"] or f"{timed[0]['cpu']}, {timed[0]['threads']} threads"
    axes.set_xlabel(f"times faster than the reference in float32 NCHW, forward and backward\n({hardware})")
    figure.legend(fontsize=8, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    chart(read(Path(sys.argv[1])), Path(sys.argv[2]))
