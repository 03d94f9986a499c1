"""Train an architecture from scratch: ``python -m autopose.train architecture=PATH``."""

import logging

from autopose.command import main
from autopose.config import Config
from autopose.engine.train import TrainRun
from autopose.files import save_json
from autopose.report.printed import print_scores
from autopose.runs.resolve import resolve_architecture
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> None:
    """Train, evaluate, and print the scores and where the files are."""
    architecture = resolve_architecture(config)
    scores = TrainRun(config, runtime, architecture).run()
    if not runtime.is_main:
        return
    metrics = {name: value for score in scores for name, value in score.metrics.items()}
    save_json(runtime.folder / "metrics.json", metrics)
    print_scores(scores, config.name)
    folder = runtime.folder
    logger.info("curves     %s", folder / "training_curves.png")
    logger.info("checkpoint %s", folder / "checkpoints" / "last.pt")
    logger.info("next       python -m autopose.evaluate checkpoint=%s", folder / "checkpoints" / "last.pt")


if __name__ == "__main__":
    main("train", run)
