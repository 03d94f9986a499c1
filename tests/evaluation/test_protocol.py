"""What stands beside a number, and what must not."""

from dataclasses import replace

import torch

from autopose.config.composed import composed
from autopose.evaluation.evaluation import evaluate
from autopose.models import PoseNetwork
from autopose.runs.datasets import load_annotations
from autopose.runs.precision import Precision
from autopose.runs.runtime import Runtime, StopRequest
from autopose.space import MacroSpace, builtin_architecture


def test_a_function_has_no_precision_of_the_runs(small_set, tmp_path):
    """An INT8 file that was scored in a run in bf16 computed in INT8."""
    size = "data.image_size=[32,32]"
    config = composed("evaluate", "data=keypoints", f"data.root={small_set}", size, "data.workers=0")
    annotations, stop = load_annotations(config.data, "val"), StopRequest()
    runtime = replace(Runtime(torch.device("cpu"), 0, 1, tmp_path, stop), precision=Precision("bf16"))
    space = builtin_architecture("hrnet", MacroSpace((4, 8), 1, 1, 1, 1, 4)).space()
    try:
        for network, expected in (
            (lambda images: torch.rand(len(images), 17, 8, 8), None),
            (PoseNetwork(space, 17).eval(), "bf16"),
        ):
            scores = evaluate(network, annotations, config.data, config.evaluate, runtime).scores
            assert all(score.protocol.get("precision") == expected for score in scores)
    finally:
        stop.release()
