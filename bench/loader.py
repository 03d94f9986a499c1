"""Samples a second of the training loader by number of workers: ``python -m bench.loader [--root FOLDER]``.

Without a root the synthetic set is drawn to a temporary folder. Every row's batches are compared with those loaded
without workers before the clock runs.
"""

import argparse
import os
import platform
import tempfile
import time

import cv2
import numpy as np
import torch

from autopose.data.augment import PRESETS
from autopose.data.coco import load_coco
from autopose.data.dataset import PoseDataset
from autopose.data.records import DataSource
from autopose.data.stream import BatchStream, Loader
from autopose.data.synthetic.dataset import synthetic_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of a COCO-style set")
    parser.add_argument("--split", default="train")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--augmentation", default="hrnet_coco", choices=sorted(PRESETS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=(0, 1, 2))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or synthetic_dataset(f"{folder}/set", 0, 200, 1)
        annotations = load_coco(DataSource(root, arguments.split), arguments.size[0] / arguments.size[1])
        print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, OpenCV {cv2.__version__}")
        print(f"{len(annotations.persons)} persons, {arguments.size[0]}x{arguments.size[1]}, {arguments.augmentation}")
        print("| cache | workers | samples/s | ms a batch: median | 90 % |\n| --- | --- | --- | --- | --- |")
        for cache in (False, True):
            dataset = PoseDataset(annotations, arguments.size, PRESETS[arguments.augmentation], cache=cache)
            for workers in arguments.workers:
                print(_row(dataset, cache, workers, arguments.batch, arguments.steps))


def _row(dataset: PoseDataset, cache: bool, workers: int, batch_size: int, steps: int) -> str:
    first = BatchStream(len(dataset), batch_size, 0, 0, 2)
    for ours, truth in zip(Loader(dataset, first, workers), Loader(dataset, first), strict=True):
        if not all(torch.equal(ours[name], truth[name]) for name in truth):
            raise SystemExit(f"{workers} workers load other batches than none")
    batches = iter(Loader(dataset, BatchStream(len(dataset), batch_size, 0, 0, steps), workers))
    next(batches)  # the workers' start
    stamps = [time.perf_counter()]
    for _ in batches:
        stamps.append(time.perf_counter())
    median, late = np.quantile(np.diff(stamps), (0.5, 0.9)) * 1e3
    speed = batch_size * (steps - 1) / (stamps[-1] - stamps[0])
    return f"| {'yes' if cache else 'no'} | {workers} | {speed:.0f} | {median:.1f} | {late:.1f} |"


if __name__ == "__main__":
    main()
