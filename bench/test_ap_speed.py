"""Fast OKS-AP against pycocotools: equal to 1e-9 and at least ten times faster, both measured in the same run.

``AUTOPOSE_BENCH_IMAGES`` sets the number of images (default 5,000); the ratio is asserted from 1,000 images on, below
that it is reported only.
"""

import os
import time

import pytest

from autopose.metrics.ap import coco_ap
from autopose.metrics.fast_ap import fast_ap, index_truth
from bench.ap_speed import NUM_IMAGES, REQUIRED_RATIO, TOLERANCE, machine, result_arrays, synthetic_case


def test_fast_ap_against_pycocotools(benchmark):
    num_images = int(os.environ.get("AUTOPOSE_BENCH_IMAGES", NUM_IMAGES))
    dataset, results = synthetic_case(num_images, seed=0)
    arrays, truth = result_arrays(results), index_truth(dataset)
    start = time.perf_counter()
    official = coco_ap(dataset, results)
    official_s = time.perf_counter() - start

    assert fast_ap(truth, *arrays) == pytest.approx(official, abs=TOLERANCE, rel=0)
    benchmark.pedantic(fast_ap, args=(truth, *arrays), rounds=7, warmup_rounds=1)
    if benchmark.stats is None:
        pytest.skip("equal to pycocotools; not timed because benchmarks are switched off")
    ratio = official_s / benchmark.stats.stats.median
    benchmark.extra_info |= machine() | {"pycocotools_s": official_s, "ratio": ratio}
    if num_images >= 1000:
        assert ratio >= REQUIRED_RATIO
