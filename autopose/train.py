"""Train an architecture from scratch: ``python -m autopose.train architecture=PATH``."""

import logging

from autopose.command import main, overrides
from autopose.config import Config
from autopose.engine.reports import report_scores
from autopose.engine.train import TrainRun
from autopose.files import save_json
from autopose.report.printed import evaluate_command, print_files, print_scores, size_line
from autopose.report.summary import found_facts
from autopose.runs.resolve import resolve_architecture
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> None:
    """Train, evaluate, and print the scores and where the files are."""
    architecture = resolve_architecture(config)
    training = TrainRun(config, runtime, architecture)
    scores = training.run()
    if not runtime.is_main:
        return
    metrics = {name: value for score in scores for name, value in score.metrics.items()}
    save_json(runtime.folder / "metrics.json", metrics)
    print_scores(scores, config.name)
    folder = runtime.folder
    print_files(folder, [("curves", "training_curves.png"), ("checkpoint", "checkpoints/last.pt")])
    following = evaluate_command(folder / "checkpoints" / "last.pt")
    logger.info("next       %s", following)
    schema = training.validation.schema
    size = size_line(architecture, config.train.width, config.data.image_size, schema.num_joints)
    facts = {**found_facts(architecture), "network": size, "epochs": str(config.train.epochs)}
    clock = training.clock.report()
    report_scores("train", config, runtime, clock, scores, schema, overrides(), facts, following)
    training.store.require_saved()


if __name__ == "__main__":
    main("train", run)
