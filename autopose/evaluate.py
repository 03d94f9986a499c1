"""Score a checkpoint or a result file: ``python -m autopose.evaluate checkpoint=PATH`` or ``results=FILE.json``."""

import logging
from dataclasses import replace

from autopose.command import main, overrides
from autopose.config import Config, DataConfig, from_checkpoint, given_keys
from autopose.data.schema import KeypointSchema, joint_order, schema_from_dict
from autopose.engine.reports import report_scores
from autopose.errors import UserError
from autopose.evaluation.constant_pose import ConstantPose
from autopose.evaluation.evaluation import evaluate
from autopose.evaluation.scoring import Score, score_results
from autopose.files import save_json
from autopose.functions import Outcome, callable_module
from autopose.report.contact_sheet import save_contact_sheet
from autopose.report.printed import predict_command, print_scores
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.clock import Clock
from autopose.runs.datasets import load_annotations
from autopose.runs.resolve import load_network, order_joints
from autopose.runs.runtime import Runtime

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> Outcome:
    """Print the literature's table; write ``metrics.json`` (full precision) and the page into the run's folder."""
    if bool(config.checkpoint) == bool(config.results):
        raise UserError("evaluate needs either checkpoint=PATH or results=FILE.json")
    clock = Clock()
    scored = _score_results(config) if config.results else _score_checkpoint(config, runtime, clock)
    scores, schema, facts, name = scored
    outcome = Outcome.of(scores, runtime.folder)
    if not runtime.is_main:
        return outcome
    save_json(runtime.folder / "metrics.json", outcome.metrics)
    print_scores(scores, name)
    logger.info("metrics    %s", runtime.folder / "metrics.json")
    following = predict_command(config.checkpoint) if config.checkpoint else None
    if following:
        logger.info("next       %s", following)
    report_scores("evaluate", config, runtime, clock.report(), scores, schema, overrides(), facts, following)
    return outcome


Found = tuple[list[Score], KeypointSchema, dict[str, str], str]  # scores, joints, what was scored, its name


def _score_results(config: Config) -> Found:
    truth = replace(config.data, box_source="gt", detections=None, score_threshold=0.0)
    annotations = load_annotations(truth, "val", need_images=False)
    scores = [score_results(annotations, config.results, pck_alpha=config.evaluate.pck_alpha)]
    return scores, annotations.schema, {"results": config.results}, "results"


def _score_checkpoint(config: Config, runtime: Runtime, clock: Clock) -> Found:
    content = read_checkpoint(config.checkpoint, "train")
    checkpoint, config = config.checkpoint, from_checkpoint(content["config"], config, overrides())
    network = load_network(content, config, runtime.device)
    joints = schema_from_dict(content["state"]["schema"])
    annotations = load_annotations(_without_joints(config.data), "val", network=joints)
    order_joints(network, joint_order(joints, annotations.schema.joints))
    with clock.phase("evaluation"):
        constant = ConstantPose.from_dict(content["state"].get("constant_pose"))
        found = evaluate(network, annotations, config.data, config.evaluate, runtime, constant)
    if runtime.is_main:
        path = runtime.folder / "results" / f"keypoints_{config.data.val_split}.json"
        save_json(path, found.results)
        logger.info("results    %s", path)
        with clock.phase("figures"):
            save_contact_sheet(annotations, found.poses, runtime.folder)
    return found.scores, annotations.schema, {"checkpoint": checkpoint}, config.name


def _without_joints(data: DataConfig) -> DataConfig:
    """The data without what the checkpoint's network says of its joints itself, in whatever order the set has them."""
    keys = ("joints", "flip_pairs", "sigmas", "skeleton")
    given = given_keys(overrides())
    return replace(data, **{key: None for key in keys if f"data.{key}" not in given})


callable_module(__name__)
if __name__ == "__main__":
    main("evaluate", run)
