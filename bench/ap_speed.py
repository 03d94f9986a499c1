"""Fast OKS-AP beside pycocotools on one seeded set: equal first, then timed. ``python -m bench.ap_speed``."""

from __future__ import annotations

import argparse
import csv
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

from autopose.metrics.ap import coco_ap
from autopose.metrics.fast_ap import fast_ap, index_truth
from autopose.metrics.oks import COCO_SIGMAS
from autopose.runs.machine import machine

RESULT_FILE = Path(__file__).parent / "results" / "ap_speed.csv"
NUM_IMAGES = 5000
REQUIRED_RATIO = 10
TOLERANCE = 1e-9


def synthetic_case(num_images: int, seed: int, num_joints: int = len(COCO_SIGMAS)) -> tuple[dict, list[dict]]:
    """COCO annotations and results with what real ones hold: images without people, crowds, people without keypoints,
    equal scores, duplicates, false positives and up to 24 detections an image (5,000 images: 60,000 detections).
    """
    rng = np.random.default_rng(seed)
    images, annotations, results = [], [], []
    for image_id in (rng.permutation(num_images) * 7 + 3).tolist():
        images.append({"id": image_id, "width": 640, "height": 480})
        people = [_person(rng, num_joints) for _ in range(rng.choice([0, 0, 1, 1, 2, 3, 4, 8]))]
        for keypoints, (x, y, w, h), crowd in people:
            annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": crowd}
            annotation |= {"bbox": [x, y, w, h], "area": 0.6 * w * h, "keypoints": keypoints.ravel().tolist()}
            annotations.append(annotation | {"num_keypoints": int((keypoints[:, 2] > 0).sum())})
        for _ in range(rng.integers(0, 25)):
            pose = _detection(rng, people, num_joints)
            score = round(float(rng.random()), 2)
            results.append({"image_id": image_id, "category_id": 1, "keypoints": pose.ravel().tolist(), "score": score})
    results = [results[i] for i in rng.permutation(len(results))]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}, results


def _person(rng: np.random.Generator, num_joints: int) -> tuple[np.ndarray, tuple[float, ...], int]:
    x, y = rng.uniform(0, 400, 2).tolist()
    w, h = rng.uniform(10, 300, 2).tolist()
    crowd = int(rng.random() < 0.05)
    keypoints = np.zeros((num_joints, 3))
    if not crowd and rng.random() > 0.3:
        keypoints[:, :2] = rng.uniform((x, y), (x + w, y + h), (num_joints, 2)).round()
        keypoints[:, 2] = rng.integers(0, 3, num_joints)
        keypoints[keypoints[:, 2] == 0] = 0
    return keypoints, (x, y, w, h), crowd


def _detection(rng: np.random.Generator, people: list, num_joints: int) -> np.ndarray:
    pose = np.column_stack([rng.uniform(0, 100, num_joints), rng.uniform(0, 200, num_joints), rng.random(num_joints)])
    if people and rng.random() < 0.7:
        keypoints, (x, y, w, h), _ = people[rng.integers(len(people))]
        guess = rng.uniform((x, y), (x + w, y + h), (num_joints, 2))
        noise = rng.choice([0, 0.01, 0.03, 0.08]) * np.sqrt(w * h) * rng.normal(size=(num_joints, 2))
        pose[:, :2] = np.where(keypoints[:, 2:] > 0, keypoints[:, :2], guess) + noise
    else:
        pose[:, :2] += rng.uniform(0, 400, 2)
    return pose


def result_arrays(results: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image ids (D,), poses (D, K, 3) and scores (D,) of COCO results."""
    poses = np.array([r["keypoints"] for r in results]).reshape(len(results), -1, 3)
    return np.array([r["image_id"] for r in results]), poses, np.array([r["score"] for r in results])


def measure(num_images: int = NUM_IMAGES, repeats: int = 9, seed: int = 0) -> dict[str, object]:
    """One row of the table: both results compared, then pycocotools timed once and the fast path several times.

    Raises:
        AssertionError: the ten numbers differ by more than TOLERANCE.
    """
    dataset, results = synthetic_case(num_images, seed)
    arrays = result_arrays(results)
    start = time.perf_counter()
    official = coco_ap(dataset, results)
    official_s = time.perf_counter() - start
    start = time.perf_counter()
    truth = index_truth(dataset)
    index_s = time.perf_counter() - start
    fast = fast_ap(truth, *arrays)
    difference = max(abs(official[key] - fast[key]) for key in official)
    assert difference <= TOLERANCE, f"fast AP differs from pycocotools by {difference}"
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        fast_ap(truth, *arrays)
        times.append(time.perf_counter() - start)
    low, median, high = np.quantile(times, [0.2, 0.5, 0.8])
    return {
        "images": num_images,
        "people": len(dataset["annotations"]),
        "detections": len(results),
        "AP": f"{fast['AP']:.6f}",
        "largest_difference": difference,
        "pycocotools_s": round(official_s, 3),
        "index_once_s": round(index_s, 4),
        "fast_median_s": round(median, 4),
        "fast_q20_s": round(low, 4),
        "fast_q80_s": round(high, 4),
        "ratio": round(official_s / median, 1),
    } | {**machine(), "numpy": np.__version__, "pycocotools": version("pycocotools")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=NUM_IMAGES)
    parser.add_argument("--output", type=Path, default=RESULT_FILE)
    arguments = parser.parse_args()
    row = measure(arguments.images)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with arguments.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    print("\n".join(f"{key}: {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
