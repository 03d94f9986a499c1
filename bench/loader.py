"""Samples a second of the training loader, by where pictures come from: ``python -m bench.loader [--root FOLDER]``.

From files, from memory (every picture decoded once) and from the crop cache (``autopose data cache``), by number of
worker processes, crops cut by the workers or on the device (``data.crops``). Without a root the drawn set is made in a
temporary folder, at COCO's usual 640x480. Every row's batches are compared with those from files without workers before
the clock runs; rows are timed in turn, several times, and the best of each counts. "loaded": samples a second as they
come from the loader, all that a GPU would wait for; "placed": as a step reads them, with what is left to the device
done by the CPU here. Beside each stands the ratio to files with as many workers and crops cut by them.
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
from autopose.data.device_crops import UncutDataset
from autopose.data.records import DataSource
from autopose.data.stream import BatchStream, Loader, place
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.runs.machine import machine

RESULT = Path(__file__).parent / "results" / "loader.csv"
ROUNDS = 3
KINDS = ("loaded", "placed")


Source = PoseDataset | UncutDataset
CPU = torch.device("cpu")


def speed(dataset: Source, workers: int, batch_size: int, steps: int, placed: bool) -> float:
    """Samples a second, without the workers' start."""
    batches = iter(Loader(dataset, BatchStream(len(dataset), batch_size, 0, 0, steps), workers))
    next(batches)
    started = time.perf_counter()
    for batch in batches:
        if placed:
            place(batch, CPU)
    return batch_size * (steps - 1) / (time.perf_counter() - started)


def check(dataset: Source, truth: PoseDataset, workers: int) -> None:
    """End the run unless both give the same batches: to the bit where workers cut, to 1e-3 where the device does."""
    first, allowed = BatchStream(len(truth), 8, 0, 0, 2), 1e-3 if isinstance(dataset, UncutDataset) else 0.0
    for ours, expected in zip(Loader(dataset, first, workers), Loader(truth, first), strict=True):
        found = place(ours, CPU)
        for name, value in place(expected, CPU).items():
            if (found[name] - value).abs().max() > allowed:
                raise SystemExit(f"{workers} workers load another {name} than none from files")


def measure(sets: dict[tuple[str, str], Source], workers: list[int], batch: int, steps: int) -> list[dict]:
    """A row for every source, place of cutting and number of workers."""
    truth = sets["files", "workers"]
    assert isinstance(truth, PoseDataset)
    cases = [(source, count) for source in sets for count in workers]
    for source, count in cases:
        check(sets[source], truth, count)
    best: dict[tuple, float] = {}
    for _ in range(ROUNDS):
        for source, count in cases:
            for kind in KINDS:
                found = speed(sets[source], count, batch, steps, kind == "placed")
                best[source, count, kind] = max(best.get((source, count, kind), 0.0), found)
    return [_row(source, count, best) for source, count in cases]


def _row(source: tuple[str, str], count: int, best: dict[tuple, float]) -> dict:
    row: dict[str, str | float] = {"from": source[0], "crops": source[1], "workers": count}
    for kind in KINDS:
        value = best[source, count, kind]
        row |= {kind: round(value), f"{kind} of files": round(value / best[("files", "workers"), count, kind], 2)}
    return row


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
        plain = {
            "files": PoseDataset(annotations, asked.size, preset),
            "memory": PoseDataset(annotations, asked.size, preset, cache=True),
            "crop cache": PoseDataset(replace(annotations, crops=crops), asked.size, preset),
        }
        sets: dict[tuple[str, str], Source] = {(name, "workers"): dataset for name, dataset in plain.items()}
        sets |= {(name, "device"): UncutDataset(dataset) for name, dataset in plain.items()}
        rows = measure(sets, asked.workers, asked.batch, asked.steps)
    about = {"data": Path(asked.root).name if asked.root else "drawn, 640x480", "persons": len(annotations.persons),
             "input": f"{asked.size[0]}x{asked.size[1]}", "augmentation": asked.augmentation, **machine()}  # fmt: skip
    print("| " + " | ".join(rows[0]) + " |\n" + "| --- " * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    with asked.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | about for row in rows)


if __name__ == "__main__":
    main()
