"""Score a checkpoint or a result file: ``python -m autopose.evaluate checkpoint=PATH`` or ``results=FILE.json``."""

import logging
from dataclasses import replace

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.errors import UserError
from autopose.evaluation.evaluation import evaluate
from autopose.evaluation.scoring import Score, score_results
from autopose.files import save_json
from autopose.report.printed import print_scores
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.datasets import load_annotations
from autopose.runs.resolve import load_network
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> None:
    """Print the literature's table and write ``metrics.json`` (full precision) into the run's folder."""
    if bool(config.checkpoint) == bool(config.results):
        raise UserError("evaluate needs either checkpoint=PATH or results=FILE.json")
    scores = _score_results(config) if config.results else _score_checkpoint(config, runtime)
    if runtime.is_main:
        metrics = {name: value for score in scores for name, value in score.metrics.items()}
        save_json(runtime.folder / "metrics.json", metrics)
        print_scores(scores, config.name if config.checkpoint else "results")
        logger.info("metrics    %s", runtime.folder / "metrics.json")


def _score_results(config: Config) -> list[Score]:
    truth = replace(config.data, box_source="gt")
    annotations = load_annotations(truth, "val", config.seed, need_images=False)
    return [score_results(annotations, config.results, pck_alpha=config.evaluate.pck_alpha)]


def _score_checkpoint(config: Config, runtime: Runtime) -> list[Score]:
    content = read_checkpoint(config.checkpoint, "train")
    config = from_checkpoint(content["config"], config, overrides())
    network = load_network(content, config, runtime.device)
    annotations = load_annotations(config.data, "val", config.seed)
    if network.num_joints != annotations.schema.num_joints:
        raise UserError(
            f"the checkpoint's network predicts {network.num_joints} joints, but the dataset has "
            f"{annotations.schema.num_joints}: evaluate it on a set with the joints it was trained on"
        )
    scores, results = evaluate(network, annotations, config.data, config.evaluate, runtime)
    if runtime.is_main:
        path = runtime.folder / "results" / f"keypoints_{config.data.val_split}.json"
        save_json(path, results)
        logger.info("results    %s", path)
    return scores


if __name__ == "__main__":
    main("evaluate", run)
