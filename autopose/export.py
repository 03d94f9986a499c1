"""A file that runs without this software: ``python -m autopose.export checkpoint=PATH format=onnx|torch_export``.

``out=FILE`` names it, ``export.decode=true`` puts the decoding of joints into it, and ``export.int8=true`` writes a
second, quantised ONNX file and scores both on the validation split.
"""

import logging
from pathlib import Path

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.data.schema import schema_from_dict
from autopose.deploy.export import SUFFIX, export_to
from autopose.deploy.onnx_file import OnnxNetwork
from autopose.deploy.quantise import calibration_batches, quantised_file
from autopose.errors import UserError
from autopose.evaluation.evaluation import evaluate
from autopose.files import save, save_json
from autopose.functions import callable_module
from autopose.report.printed import print_scores
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.datasets import load_annotations
from autopose.runs.resolve import load_network
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> Path:
    """Write the file, and what INT8 costs if it was asked for (``int8.json``)."""
    if not config.checkpoint:
        raise UserError("export needs checkpoint=PATH, a checkpoint of train")
    if config.export.int8 and config.format != "onnx":
        raise UserError("export.int8=true is for format=onnx: it is made by ONNX Runtime's quantiser")
    content = read_checkpoint(config.checkpoint, "train")
    config = from_checkpoint(content["config"], config, overrides())
    network = load_network(content, config, runtime.device)
    if not network.foldable:
        raise UserError("export is for networks of built-in operations: this one has operations of another package")
    out = Path(config.out) if config.out else runtime.folder / f"pose{SUFFIX[config.format]}"
    export_to(out, network, schema_from_dict(content["state"]["schema"]), config)
    if config.export.int8:
        _quantise(out, config, runtime)
    return out


def _quantise(path: Path, config: Config, runtime: Runtime) -> None:
    small = path.with_name(f"{path.stem}_int8.onnx")
    batches = list(calibration_batches(config))
    file = quantised_file(path.read_bytes(), iter(batches))
    save(small, file)
    logger.info("quantised  %s (%.1f MB, ranges of %d people)", small, len(file) / 1e6, sum(map(len, batches)))
    annotations, found = load_annotations(config.data, "val"), {}
    for name, file in (("float32", path), ("int8", small)):
        scores = evaluate(OnnxNetwork(file, config.threads), annotations, config.data, config.evaluate, runtime).scores
        found[name] = {key: value for score in scores for key, value in score.metrics.items()}
        print_scores(scores, name)
    save_json(runtime.folder / "int8.json", found)
    for key, name in (("AP", "AP"), ("Mean", "PCK")):
        if key in found["int8"]:
            logger.info("int8       %s %.3f before, %.3f after", name, found["float32"][key], found["int8"][key])


callable_module(__name__)
if __name__ == "__main__":
    main("export", run)
