"""Train an architecture: ``python -m autopose.train architecture=PATH``, or ``checkpoint=PATH`` to fine-tune."""

import logging
from dataclasses import replace

from autopose.command import main, overrides
from autopose.config import Config, given_keys
from autopose.engine.bill import bill_of_training, show_cost
from autopose.engine.reports import report_scores
from autopose.engine.train import TrainRun
from autopose.files import save_json
from autopose.functions import Outcome, callable_module
from autopose.report.printed import evaluate_command, predict_command, print_files, print_scores, size_line
from autopose.report.summary import found_facts
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.datasets import load_annotations
from autopose.runs.resolve import resolve_architecture, sized
from autopose.runs.runtime import Runtime
from autopose.space import Architecture

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime, architecture: Architecture | None = None) -> Outcome | None:
    """Train, evaluate, and print the scores and where the files are; ``architecture`` in place of the one by name."""
    pretrained = read_checkpoint(config.checkpoint, "train") if config.checkpoint else None
    counts = config.architecture_gmacs or config.train.gmacs
    num_joints = load_annotations(config.data, "train", need_images=False).schema.num_joints if counts else 0
    if architecture is not None:
        config = replace(config, architecture=str(runtime.folder / "architecture.json"))
    elif pretrained is not None and not config.architecture:
        config, architecture = _as_pretrained(config, pretrained)
    else:
        architecture = resolve_architecture(config, num_joints)
    config = sized(config, architecture, num_joints)
    training = TrainRun(config, runtime, architecture, pretrained)
    if config.dry_run:
        bill_of_training(training).show()
        return None
    scores = training.run()
    outcome = Outcome.of(scores, runtime.folder, runtime.folder / "checkpoints" / "last.pt")
    if not runtime.is_main:
        return outcome
    save_json(runtime.folder / "metrics.json", outcome.metrics)
    print_scores(scores, config.name)
    folder = runtime.folder
    print_files(folder, [("curves", "training_curves.png"), ("checkpoint", "checkpoints/last.pt")])
    following = evaluate_command(folder / "checkpoints" / "last.pt")
    logger.info("next       %s", following)
    logger.info("or         %s", predict_command(folder / "checkpoints" / "last.pt"))
    schema = training.validation.schema
    size = size_line(architecture, config.train.width, config.data.image_size, schema.num_joints)
    facts = {**found_facts(architecture), "network": size, "epochs": str(config.train.epochs)}
    clock = training.clock.report()
    show_cost(clock, folder / "checkpoints")
    report_scores("train", config, runtime, clock, scores, schema, overrides(), facts, following)
    training.store.require_saved()
    return outcome


def _as_pretrained(config: Config, content: dict) -> tuple[Config, Architecture]:
    """The architecture of the checkpoint to start from, with its width and normalisation unless these are given."""
    known, given = content["config"], given_keys(overrides())
    if "train.width" not in given:
        config = replace(config, train=replace(config.train, width=known["train"]["width"]))
    if "space.derived_affine" not in given:
        config = replace(config, space=replace(config.space, derived_affine=known["space"]["derived_affine"]))
    return config, Architecture.from_json(content["architecture"])


callable_module(__name__)
if __name__ == "__main__":
    main("train", run)
