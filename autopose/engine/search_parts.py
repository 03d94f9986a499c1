"""What a search is put together from, by its configuration: splits, cost, noise, trial trainings."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from autopose.config import Config
from autopose.data.records import PoseAnnotations
from autopose.data.schema import KeypointSchema, joint_order, schema_from_dict
from autopose.data.splits import SearchSplit, split_search
from autopose.engine.trials import Done, Trials
from autopose.errors import UserError
from autopose.nas import BilevelSearch
from autopose.nas.cost import Cost, Penalty
from autopose.nas.noise import noise_entropies
from autopose.runs.datasets import load_annotations, pose_dataset
from autopose.runs.runtime import Runtime
from autopose.space import SearchSpace
from autopose.space.latency import LatencyTable

logger = logging.getLogger("autopose")


def split_of(config: Config) -> SearchSplit:
    """People for ω, α and the reward."""
    reward = config.search.reward
    train = load_annotations(config.data, "train")
    truth = replace(config.data, box_source="gt", detections=None, score_threshold=0.0)
    validation = load_annotations(truth, "val") if reward.split == "paper" else None
    split = split_search(
        train, config.seed, reward_images=reward.images, reward_fraction=reward.fraction, reward_split=reward.split,
        validation=validation,
    )  # fmt: skip
    logger.info("split      %s", split.description)
    return split


def penalty_of(config: Config, space: SearchSpace, num_joints: int) -> Penalty | None:
    """Of the cost that ``search.cost`` names."""
    settings = config.search
    if settings.cost == "none":
        return None
    table = LatencyTable.load(settings.latency_table) if settings.latency_table else None
    cost = Cost(space, settings.width, config.data.image_size, num_joints, table)
    cost.check_target(settings.cost_target, "search.cost_target")
    if table is not None:
        logger.info("cost       ms of %s", table.measured_on())
    return Penalty(cost, settings.cost_weight, settings.cost_target)


def noise_of(search: BilevelSearch) -> list[float]:
    """By epoch, the entropy that α would have if its gradients were noise; none where α is not trained."""
    settings = search.settings
    if search.algorithm.operations != "alpha":
        return []
    epochs = range(1, settings.epochs + 1)
    steps = [max(epoch - settings.alpha_start_epoch, 0) * settings.iterations for epoch in epochs]
    betas = (settings.alpha_betas[0], settings.alpha_betas[1])
    operations = len(search.alphas.operations)
    return noise_entropies(steps, operations, settings.alpha_lr, betas, settings.alpha_weight_decay)


def trials_of(
    config: Config, runtime: Runtime, annotations: PoseAnnotations, digests: Mapping[str, str],
    before_each: Callable[[], None],
) -> Trials:  # fmt: skip
    """Trial trainings on the people of ω's split, kept in the run's ``trials.json``.

    Args:
        digests: of annotations and pictures.
        before_each: called before every training; may raise.
    """
    recipe = {
        "seed": config.seed, "data": (replace(config.data, workers=0), digests), "train": config.train,
        "width": config.search.width, "affine": config.space.derived_affine, "precision": runtime.precision.name,
    }  # fmt: skip
    data = pose_dataset(annotations, config.data, augment=True)
    return Trials(config, runtime, data, before_each, Done(runtime.folder / "trials.json", recipe, runtime))


def check_joints(known: dict | None, schema: KeypointSchema) -> None:
    """UserError unless the data have the joints that the supernet was searched with, in the same order."""
    if known is None:
        return
    searched = schema_from_dict(known)
    if joint_order(searched, schema.joints) != list(range(schema.num_joints)):
        raise UserError(
            f"the search saw the joints in the order {', '.join(searched.joints)}, the data have them in another: give "
            "the data of the search"
        )
