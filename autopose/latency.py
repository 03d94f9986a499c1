"""How long a network takes here: ``python -m autopose.latency checkpoint=PATH`` or ``architecture=PATH|hrnet|…``.

What predict runs, PyTorch (in bf16 too where that is the machine's precision), its reference kernels, ONNX Runtime in
float32 and INT8, timed in turn at batches of 1 and ``latency.batch``; ``latency.json`` holds the table.
``latency.operations=true`` also writes ``operations.json``, what each operation costs on each branch
(``autopose.space.latency``).
"""

import logging
from pathlib import Path

import torch

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.deploy import latency
from autopose.deploy.parts import Measured, measure_parts
from autopose.errors import UserError
from autopose.files import save_json
from autopose.functions import callable_module
from autopose.models import PoseNetwork
from autopose.report.latency import format_check, format_forms
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.machine import machine
from autopose.runs.resolve import joints_of, load_network, resolve_architecture, sized
from autopose.runs.runtime import Runtime
from autopose.space import Architecture, MacroSpace
from autopose.space.ops import ordered

logger = logging.getLogger("autopose")
FILE, OPERATIONS_FILE = "latency.json", "operations.json"


def run(config: Config, runtime: Runtime) -> Path:
    """Measure, print and write the tables; returns the path of ``latency.json``."""
    config, network, macro = _network(config, runtime)
    size = (int(config.data.image_size[0]), int(config.data.image_size[1]))
    network.space.macro.check_image_size(size)
    hardware = {**machine(), "threads": torch.get_num_threads(), "gpu": None}
    if runtime.device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(runtime.device)
    batches = tuple(sorted({1, config.latency.batch}))
    forms = latency.forms_of(network, config, runtime.device, runtime.precision)
    rows = latency.rows_of(latency.measure(forms, size, batches, config.latency.rounds, runtime.device))
    of = {"checkpoint": config.checkpoint, "architecture": config.architecture, "width": config.train.width}
    about = {**of, "image_size": list(size), "hardware": hardware, "batches": list(batches)}
    path = runtime.folder / FILE
    save_json(path, {"version": 1, **about, "predict": forms.predicted.name, "rows": rows, "missing": forms.missing})
    logger.info("hardware   %s, %d thread(s)", hardware["gpu"] or hardware["cpu"], hardware["threads"])
    logger.info("\n%s", format_forms(rows, forms.missing))
    logger.info("predict    runs %s; precision %s", forms.predicted.name, forms.predicted.precision)
    if config.latency.operations:
        operations = ordered([*config.space.operations, *network.space.operations])
        wanted = Measured(macro, config.train.width, operations, size, network.num_joints, batches)
        runs_onnx = forms.predicted.name == latency.ONNX and latency.ONNX in forms.run
        table = measure_parts(wanted, config.latency.rounds, runtime.device, hardware, runs_onnx)
        save_json(runtime.folder / OPERATIONS_FILE, table)
        logger.info("\n%s", format_check(table["check"], table["form"]))
        logger.info("operations %s", runtime.folder / OPERATIONS_FILE)
    logger.info("table      %s", path)
    return path


def _network(config: Config, runtime: Runtime) -> tuple[Config, PoseNetwork, MacroSpace]:
    """The configuration of the network, the network, and the space of its architecture."""
    if bool(config.checkpoint) == bool(config.architecture):
        raise UserError("latency needs one of checkpoint=PATH, a checkpoint of train, and architecture=PATH|hrnet|...")
    if config.checkpoint:
        content = read_checkpoint(config.checkpoint, "train")
        config = from_checkpoint(content["config"], config, overrides())
        macro = Architecture.from_json(content["architecture"]).macro_space
        return config, load_network(content, config, runtime.device), macro
    joints = joints_of(config)
    architecture = resolve_architecture(config, joints)
    config = sized(config, architecture, joints)
    network = PoseNetwork(architecture.space(config.train.width), joints, config.space.derived_affine, config.kernels)
    return config, latency.settled(network, config.data.image_size).place(runtime.device), architecture.macro_space


callable_module(__name__)
if __name__ == "__main__":
    main("latency", run)
