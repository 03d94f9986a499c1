"""The reward: what it scores, what it refuses, what it leaves as it was."""

import numpy as np
import pytest
import torch

from autopose.config import RewardConfig
from autopose.data.coco import load_coco
from autopose.data.dataset import PoseDataset
from autopose.data.records import DataSource
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.engine.reward import RewardScorer
from autopose.errors import Diverged, UserError
from autopose.evaluation.inference import Poses
from autopose.models import PoseNetwork
from autopose.nas import ArchitectureParameters, cells_of, derive_ops
from autopose.space import MacroSpace, SearchSpace
from autopose.space.macs import count_macs

MACRO = MacroSpace((4, 4), 1, 1, 1, 1, 4)
SIZE = (32, 32)


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    root = synthetic_dataset(tmp_path_factory.mktemp("reward") / "set", 0, 1, 6, (64, 64))
    return load_coco(DataSource(root=root, split="val"), 1.0)


@pytest.fixture
def scorer(annotations):
    def build(**settings):
        torch.manual_seed(0)
        network = PoseNetwork(SearchSpace.full(MACRO), 17)
        extra = {name: settings.pop(name) for name in ("max_skips", "derived_size", "calibration") if name in settings}
        config = RewardConfig(**settings)
        network.set_norm("track" if config.batch_norm == "running" else "batch")
        alphas = ArchitectureParameters(network.space)
        return RewardScorer(network, alphas, PoseDataset(annotations, SIZE), config, torch.device("cpu"), 2, **extra)

    return build


def true_poses(annotations):
    joints = np.stack([p.joints for p in annotations.persons])
    return Poses(np.arange(len(joints)), joints, np.ones(joints.shape[:2]))


@pytest.mark.parametrize("metric", ["pck", "oks_ap"])
def test_true_poses_score_one_and_far_ones_nothing(scorer, annotations, metric, monkeypatch):
    found = scorer(metric=metric)
    poses = true_poses(annotations)
    beta = MACRO.all_on()
    for shift, expected in ((0.0, 1.0), (500.0, 0.0)):
        moved = Poses(poses.index, poses.joints + shift, poses.scores)
        monkeypatch.setattr("autopose.engine.reward.predict_poses", lambda *a, moved=moved, **k: moved)
        assert found.score(beta) == pytest.approx(expected, abs=1e-9)


def test_the_penalty_counts_the_derived_network_at_its_own_width_and_size(scorer):
    settings = {"metric": "negative_loss", "flops_weight": 0.5, "target_gmacs": 1e-4}
    found, beta = scorer(derived_size=(64, 64), **settings), MACRO.all_on()
    cells = cells_of(found.alphas, derive_ops(found.alphas))
    gmacs = count_macs(MACRO.widened(2), beta, cells, (64, 64), 17) / 1e9
    assert found.gmacs(beta) == gmacs
    difference = found.score(beta, penalised=False) - found.score(beta)
    assert difference == pytest.approx(0.5 * (gmacs / 1e-4 - 1)) and difference > 0


def test_a_cap_on_skips_scores_and_counts_what_is_derived(scorer):
    free, capped = (scorer(metric="negative_loss", max_skips=m) for m in (None, 0))
    for found in (free, capped):
        with torch.no_grad():
            for alpha in found.alphas.alphas.values():
                alpha.zero_()
                alpha[:, 5], alpha[:, 2] = 2.0, 1.0
    beta = MACRO.all_on()
    assert capped.gmacs(beta) > 2 * free.gmacs(beta)
    assert capped.score(beta) != free.score(beta)
    fives = {name: [2] * len(alpha) for name, alpha in capped.alphas.alphas.items()}
    assert capped.score(beta) == capped.score(beta, fives)


def test_recalibration_reads_its_batches_once_and_replaces_what_was_there(scorer):
    reads = []

    def batches():
        reads.append(1)
        yield {"image": torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))}

    class Batches:
        def __iter__(self):
            return batches()

    found = scorer(metric="negative_loss", batch_norm="recalibrated", calibration=Batches())
    beta = MACRO.all_on()
    first = found.score(beta)
    with torch.no_grad():
        for buffer in found.network.buffers():
            buffer.fill_(3.0)
    assert found.score(beta) == pytest.approx(first)
    assert len(reads) == 1


def test_a_reward_that_is_no_number_is_refused(scorer, monkeypatch):
    found = scorer(metric="negative_loss")
    monkeypatch.setattr(found, "_measure", lambda *arguments: float("nan"))
    with pytest.raises(Diverged, match="is not finite"):
        found.score(MACRO.all_on())


def test_a_subset_that_cannot_be_scored_is_refused_at_the_start(annotations):
    network = PoseNetwork(SearchSpace.full(MACRO), 17)
    names = annotations.schema.joints
    torso = [names.index("left_shoulder"), names.index("right_hip")]
    hidden = [p.visible.copy() for p in annotations.persons]
    try:
        for person in annotations.persons:
            person.visible[torso] = 0
        with pytest.raises(UserError, match="search.reward.metric=pck cannot be computed"):
            RewardScorer(network, ArchitectureParameters(network.space), PoseDataset(annotations, SIZE),
                         RewardConfig(metric="pck"), torch.device("cpu"), 2)  # fmt: skip
    finally:
        for person, visible in zip(annotations.persons, hidden, strict=True):
            person.visible[:] = visible
