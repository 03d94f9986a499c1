"""Samples a second of the training loader, by where pictures come from: ``python -m bench.loader [--root FOLDER]``.

From files, from memory (every picture decoded once) and from the crop cache (``autopose data cache``), by number of
worker processes. Without a root the drawn set is made in a temporary folder, at COCO's usual 640x480. Every row's
batches are compared with those from files without workers before the clock runs; rows are timed in turn, several times,
and the best of each counts. Beside each stands the ratio to files with as many workers. Workers leave normalisation to
the device; its time on this one is printed.
"""

import argparse
import csv
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from autopose.data.augment import PRESETS
from autopose.data.coco import load_coco
from autopose.data.crop_cache.build import crop_cache
from autopose.data.crop_cache.regions import Margin
from autopose.data.dataset import PoseDataset
from autopose.data.records import DataSource
from autopose.data.stream import BatchStream, Loader, place
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.runs.machine import machine

RESULT = Path(__file__).parent / "results" / "loader.csv"
ROUNDS = 3


def speed(dataset: PoseDataset, workers: int, batch_size: int, steps: int) -> float:
    """Samples a second, without the workers' start."""
    batches = iter(Loader(dataset, BatchStream(len(dataset), batch_size, 0, 0, steps), workers))
    next(batches)
    started = time.perf_counter()
    for _ in batches:
        pass
    return batch_size * (steps - 1) / (time.perf_counter() - started)


def check(dataset: PoseDataset, truth: PoseDataset, workers: int) -> None:
    """End the run unless both give the same batches."""
    first = BatchStream(len(truth), 8, 0, 0, 2)
    for ours, expected in zip(Loader(dataset, first, workers), Loader(truth, first), strict=True):
        if not all(torch.equal(ours[name], expected[name]) for name in expected):
            raise SystemExit(f"{workers} workers load other batches than none from files")


def measure(sets: dict[str, PoseDataset], workers: list[int], batch: int, steps: int) -> list[dict]:
    """A row for every source and number of workers."""
    best: dict[tuple[str, int], float] = {}
    for dataset in sets.values():
        for count in workers:
            check(dataset, sets["files"], count)
    for _ in range(ROUNDS):
        for name, dataset in sets.items():
            for count in workers:
                best[name, count] = max(best.get((name, count), 0.0), speed(dataset, count, batch, steps))
    return [
        {"from": name, "workers": count, "samples/s": round(value), "of files": round(value / best["files", count], 2)}
        for (name, count), value in best.items()
    ]


def normalising(dataset: PoseDataset, batch_size: int) -> float:
    """Milliseconds a sample that placing a batch on the CPU takes."""
    batch = next(iter(Loader(dataset, BatchStream(len(dataset), batch_size, 0, 0, 1))))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        place(batch, torch.device("cpu"))
        times.append(time.perf_counter() - started)
    return min(times) / batch_size * 1e3


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of a COCO-style set")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--augmentation", default="hrnet_coco", choices=sorted(PRESETS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=RESULT)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = asked.root or synthetic_dataset(f"{folder}/set", 0, 200, 1, (640, 480))
        annotations = load_coco(DataSource(root, asked.split), asked.size[0] / asked.size[1])
        preset = PRESETS[asked.augmentation]
        crops = crop_cache(Path(folder) / "cache", annotations, Margin.of(preset, asked.size))
        sets = {
            "files": PoseDataset(annotations, asked.size, preset),
            "memory": PoseDataset(annotations, asked.size, preset, cache=True),
            "crop cache": PoseDataset(replace(annotations, crops=crops), asked.size, preset),
        }
        rows = measure(sets, asked.workers, asked.batch, asked.steps)
        cost = normalising(sets["files"], asked.batch)
    about = {"data": Path(asked.root).name if asked.root else "drawn, 640x480", "persons": len(annotations.persons),
             "input": f"{asked.size[0]}x{asked.size[1]}", "augmentation": asked.augmentation, **machine()}  # fmt: skip
    print("| " + " | ".join(rows[0]) + " |\n" + "| --- " * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    print(f"normalising on the CPU: {cost:.2f} ms a sample")
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    with asked.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | about for row in rows)


if __name__ == "__main__":
    main()
