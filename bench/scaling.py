"""How cost grows: ``python -m bench.scaling`` writes bench/results/scaling_DEVICE.csv and docs/images/scaling.png.

One quantity at a time grows from a small supernet (`BASE`): batch, input size, branches, stages, nodes, processes. A
point is a bilevel iteration with every branch on (``BilevelSearch.cell_update``: a step of ω, one of α, optimizers
included), fused kernels in float32. Seconds are the least of interleaved repetitions, which other work on the machine
only raises (a constant load on all cores stays in them). Bytes are those that autograd keeps for the backward pass of
ω's step, and those of weights, gradients and Adam's moments: counted, not sampled, so the same on every run. Processes
share one batch and, on a CPU, its cores.
"""

import argparse
import csv
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from matplotlib.figure import Figure

from autopose.report.saving import save_figure
from autopose.runs.machine import machine
from autopose.runs.timing import Interleaved
from autopose.space import MacroSpace
from bench.iteration import Problem, Provider
from bench.memory import saved_bytes

RESULTS, PICTURE = Path(__file__).parent / "results", Path(__file__).parents[1] / "docs" / "images" / "scaling.png"
COLUMNS = ("axis", "value", "least_s", "p50_s", "rounds", "kept_mib", "state_mib", "cpu", "cores", "gpu", "torch")
PROVIDER = Provider("fused", half=False)
MIB = 2**20


@dataclass(frozen=True)
class Point:
    """A supernet, a batch and how many processes share it. ``height`` and 3/4 of it as width, px."""

    batch: int = 4
    height: int = 128
    branches: int = 3
    stages: int = 2
    nodes: int = 2
    processes: int = 1

    def problem(self, device: torch.device) -> Problem:
        """The search at this point, with what a process has of the batch."""
        channels = tuple(8 * 2**branch for branch in range(self.branches))
        space = MacroSpace(channels, self.stages, 1, self.nodes, max(1, self.nodes // 2), 16)
        return Problem(PROVIDER, space, self.batch // self.processes, (self.height * 3 // 4, self.height), device)


BASE = Point()
AXES = {
    "batch": (2, 4, 8, 16),
    "height": (64, 128, 192, 256),
    "branches": (1, 2, 3, 4),
    "stages": (1, 2, 3, 4),
    "nodes": (1, 2, 3, 4),
    "processes": (1, 2),
}
LABELS = {"batch": "pictures a batch", "height": "input height, px (width 3/4)", "processes": "processes, one batch"}


def points(axis: str) -> list[Point]:
    """The points along an axis."""
    return [replace(BASE, **{axis: value}) for value in AXES[axis]]


def sizes(point: Point, device: torch.device) -> dict[str, float]:
    """MiB that a process keeps."""
    problem = point.problem(device)
    beta, batch = problem.network.space.macro.all_on(), problem.batches[0]

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mixtures = problem.search.mixtures("weights")
        return problem.search.loss({**batch, "image": images}, beta, mixtures)

    parameters = sum(p.numel() * p.element_size() for p in problem.network.parameters())
    kept = saved_bytes(problem.network, batch["image"], forward)
    return {"kept_mib": round(kept / MIB, 2), "state_mib": round(4 * parameters / MIB, 2)}


def timed(listed: list[Point], rounds: int, device: torch.device) -> dict[Point, dict]:
    """Seconds of an iteration at each point, in turn."""
    functions = {}
    for point in listed:
        problem = point.problem(device)
        functions[point] = problem.whole(problem.network.space.macro.all_on())
    timer = Interleaved(functions, device.type == "cuda")
    timer.warm_up(1)
    for _ in range(rounds):
        timer.round()
    return {point: _row(timer.seconds[point]) for point in listed}


def _row(seconds: list[float]) -> dict:
    middle = sorted(seconds)[len(seconds) // 2]
    return {"least_s": round(min(seconds), 4), "p50_s": round(middle, 4), "rounds": len(seconds)}


def rank(index: int, point: Point, rounds: int, folder: str) -> None:
    """One of the point's processes; the first writes its seconds to ``folder``."""
    torch.set_num_threads(1)
    gpu = torch.cuda.device_count() >= point.processes
    device = torch.device("cuda", index) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    meeting = f"file://{folder}/meeting_{point.processes}"
    dist.init_process_group("nccl" if gpu else "gloo", meeting, rank=index, world_size=point.processes)
    found = timed([point], rounds, device)[point]
    if index == 0:
        Path(folder, f"{point.processes}.csv").write_text(",".join(str(v) for v in found.values()))
    dist.destroy_process_group()


def timed_in_processes(point: Point, rounds: int) -> dict:
    """`timed` in as many processes as the point has, gradients averaged (gloo, or nccl where each has a GPU)."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank, (point, rounds, folder), point.processes)
        least, middle, count = Path(folder, f"{point.processes}.csv").read_text().split(",")
    return {"least_s": float(least), "p50_s": float(middle), "rounds": int(count)}


def draw(rows: list[dict], path: Path) -> None:
    """Seconds above, MiB below, a column an axis."""
    axes_of = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    figure = Figure(figsize=(2.6 * len(axes_of), 5.2), layout="constrained")
    panels = figure.subplots(2, len(axes_of), sharex="col", squeeze=False)
    for column, axis in enumerate(axes_of):
        of_axis = [row for row in rows if row["axis"] == axis]
        values = [int(row["value"]) for row in of_axis]
        above, below = panels[:, column]
        above.plot(values, [float(row["least_s"]) for row in of_axis], "o-", color="tab:blue")
        below.plot(values, [float(row["kept_mib"]) for row in of_axis], "o-", color="tab:orange", label="activations")
        below.plot(
            values,
            [float(row["state_mib"]) for row in of_axis],
            "s--",
            color="tab:green",
            label="weights and optimizer",
        )
        for panel in (above, below):
            panel.set_ylim(bottom=0)
            panel.grid(alpha=0.3)
        below.set_xlabel(LABELS.get(axis, axis))
        below.set_xticks(values)
    panels[0, 0].set_ylabel("seconds an iteration")
    panels[1, 0].set_ylabel("MiB a process")
    panels[1, 0].legend(fontsize=8)
    hardware = rows[0]["gpu"] or f"{rows[0]['cpu']}, one thread a process"
    base = (
        f"batch {BASE.batch}, {BASE.height * 3 // 4}x{BASE.height} px, {BASE.branches} branches of 8, 16, 32 channels"
    )
    figure.suptitle(
        f"One bilevel iteration ({hardware}); from {base}, {BASE.stages} stages, {BASE.nodes} nodes", fontsize=10
    )
    save_figure(figure, path, 110)


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=[*AXES])
    parser.add_argument("--rounds", type=int, default=7, help="interleaved repetitions")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path, info = asked.output or RESULTS / f"scaling_{'gpu' if device.type == 'cuda' else 'cpu'}.csv", machine()
    about, rows = {name: info[name] for name in ("cpu", "cores", "gpu", "torch")}, []
    os.makedirs(path.parent, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for axis in asked.axes:
            listed = points(axis)
            if axis == "processes":
                found = {point: timed_in_processes(point, asked.rounds) for point in listed}
            else:
                found = timed(listed, asked.rounds, device)
            for point in listed:
                rows.append(
                    {"axis": axis, "value": getattr(point, axis), **found[point], **sizes(point, device), **about}
                )
                writer.writerow(rows[-1])
                print(
                    f"{axis:9} {rows[-1]['value']:4} {rows[-1]['least_s']:8.3f} s {rows[-1]['kept_mib']:9.1f} MiB",
                    flush=True,
                )
            file.flush()
    draw(rows, asked.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
