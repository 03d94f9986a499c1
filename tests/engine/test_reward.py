"""The reward: what it scores, what it refuses, what it leaves as it was."""

import numpy as np
import pytest
import torch

from autopose.config import RewardConfig
from autopose.data.coco import load_coco
from autopose.data.dataset import PoseDataset
from autopose.data.records import DataSource
from autopose.data.stream import Loader
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.engine.reward import RewardScorer
from autopose.errors import Diverged, UserError
from autopose.evaluation.inference import Poses, coco_results, predict_poses
from autopose.evaluation.scoring import score_results
from autopose.models import MultiScaleModule, PoseNetwork
from autopose.models.stem_head import Stem
from autopose.nas import ArchitectureParameters, cells_of, derive_ops
from autopose.nas.algorithms import Candidate
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace
from autopose.space.macs import count_macs

MACRO = MacroSpace((4, 4), 1, 1, 1, 1, 4)
SIZE = (32, 32)


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    root = synthetic_dataset(tmp_path_factory.mktemp("reward") / "set", 0, 1, 6, (64, 64))
    return load_coco(DataSource(root=root, split="val"), 1.0)


OF_SCORER = ("max_skips", "derived_size", "calibration", "min_gmacs", "max_gmacs")


@pytest.fixture
def scorer(annotations):
    def build(**settings):
        torch.manual_seed(0)
        network = PoseNetwork(SearchSpace.full(settings.pop("macro", MACRO)), 17)
        extra = {name: settings.pop(name) for name in OF_SCORER if name in settings}
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
        monkeypatch.setattr(found, "_poses", lambda *a, moved=moved: {beta: moved})
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
        yield {
            "image": torch.randint(256, (8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        }

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


def test_what_lies_outside_of_the_limits_is_worse_than_any_reward(scorer):
    free, all_on = scorer(metric="negative_loss"), MACRO.all_on()
    gmacs = free.gmacs(all_on)
    small = scorer(metric="negative_loss", min_gmacs=1.01 * gmacs)
    assert small.ops_of(all_on) is None and small(all_on) == pytest.approx(-1 - 0.01 / 1.01)
    ops = derive_ops(small.alphas)
    assert small.candidates([Candidate(all_on, ops)]) == [small(all_on)] and not small.affords(all_on, ops)
    within = scorer(metric="negative_loss", min_gmacs=0.99 * gmacs, max_gmacs=1.01 * gmacs)
    assert within.affords(all_on, ops) and within(all_on) == free(all_on)
    # Made cheaper than the one limit asks for, it must not fall below the other.
    narrow = scorer(metric="negative_loss", min_gmacs=0.9 * gmacs, max_gmacs=0.95 * gmacs)
    found = narrow.ops_of(all_on)
    assert found is None or 0.9 <= narrow.gmacs(all_on, found) / gmacs <= 0.95


def test_a_reward_that_is_no_number_is_refused(scorer, monkeypatch):
    found = scorer(metric="negative_loss")
    monkeypatch.setattr(found, "_measure", lambda *arguments: {MACRO.all_on(): float("nan")})
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


@pytest.fixture(scope="module")
def people(real_data):
    return load_coco(DataSource(root=f"{real_data}/coco-mini", split="val2017"), 1.0)


def told_apart(annotations, **settings):
    """A scorer whose network predicts something of the pictures, with argmax operations of every kind."""
    torch.manual_seed(3)
    network = PoseNetwork(SearchSpace.full(MacroSpace((4, 6, 8), 2, 1, 2, 1, 4)), 17)
    network.set_norm("track")
    with torch.no_grad():
        network.head.predict.weight.mul_(100)
        alphas = ArchitectureParameters(network.space)
        for alpha in alphas.alphas.values():
            alpha.copy_(torch.randn(alpha.shape))
        for seed in range(3):
            images = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(seed))
            network(images, network.space.macro.all_on(), alphas.mean())
            network(images, network.space.macro.all_on(), alphas.argmax())
    config = RewardConfig(metric="oks_ap", batch_size=16, **settings)
    return RewardScorer(network, alphas, PoseDataset(annotations, SIZE), config, torch.device("cpu"), 2)


def slowly(scorer, beta, norm):
    """The reward of one β by the one-hot supernet, the evaluation's inference and pycocotools, none of it cached."""
    network, ops = scorer.network, derive_ops(scorer.alphas)
    network.set_norm(norm)
    mixtures = scorer.alphas.fixed(ops)
    parts = np.array_split(np.arange(len(scorer.dataset)), max(1, round(len(scorer.dataset) / 16)))
    loader = Loader(scorer.dataset, [[(int(i), None) for i in part] for part in parts])
    poses = predict_poses(lambda images: network(images, beta, mixtures), loader, torch.device("cpu"))
    results = coco_results(poses, scorer.dataset.annotations, nms="none")
    annotations = scorer.dataset.annotations
    return max(score_results(annotations, results).metrics["AP"], 0.0), poses


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_rewards_in_one_pass_are_those_of_the_slow_path(people, norm):
    scorer = told_apart(people, batch_norm=norm)
    rows = [(True, False, True), (False, True, True), (True, True, True), (True, False, False)]
    betas = [MacroArchitecture.of([rows[i], rows[j]]) for i, j in ((0, 1), (0, 2), (3, 2), (0, 3), (1, 1))]
    found = scorer.each([*betas, betas[0]])
    expected = [slowly(scorer, beta, norm) for beta in betas]
    assert found == pytest.approx([ap for ap, _ in expected] + [expected[0][0]], abs=1e-6)
    forward = scorer._forward(betas, derive_ops(scorer.alphas))
    for beta, poses in scorer._poses(forward, betas, None).items():
        slow = expected[betas.index(beta)][1]
        np.testing.assert_allclose(poses.joints, slow.joints, atol=1e-6)
        np.testing.assert_allclose(poses.scores, slow.scores, atol=1e-4)
    assert len({poses.joints.tobytes() for _, poses in expected}) > 3


def test_what_several_betas_share_runs_once(scorer, monkeypatch):
    found = scorer(metric="negative_loss", cache=False, macro=MacroSpace((4, 4), 2, 1, 1, 1, 4))
    rows = ((True, True), (True, False))
    betas = [MacroArchitecture.of(pair) for pair in ((rows[0], rows[0]), (rows[0], rows[1]), (rows[1], rows[1]))]
    alone = [found.score(beta) for beta in betas]
    runs = {"stem": 0, "module": 0}
    for name, kind in (("stem", Stem), ("module", MultiScaleModule)):

        def counted(self, *arguments, name=name, run=kind.forward):
            runs[name] += 1
            return run(self, *arguments)

        monkeypatch.setattr(kind, "forward", counted)
    assert found.each(betas) == alone and len(set(alone)) == 3
    assert runs == {"stem": 1, "module": 2 + 3}


def test_the_bench_of_a_reward_compares_both_paths_and_writes_a_row_a_way(tmp_path, monkeypatch, capsys):
    from bench import reward, small_runs

    tiny = [key for key in small_runs.SIZE if not key.startswith("data.num")]
    monkeypatch.setattr(reward, "DEFAULTS", [*tiny, "search.batch_size=4"])
    monkeypatch.setattr("sys.argv", ["bench.reward", "--people=12", "--rounds=1", f"--csv={tmp_path / 'reward.csv'}"])
    code, said = reward.main(), capsys.readouterr().out
    rows = [line.split(",") for line in (tmp_path / "reward.csv").read_text().splitlines()]
    assert [row[0] for row in rows] == ["what", "step", "reward", "one of a pass", "slow path"]
    assert rows[1][1] == "1.0" and code == (float(rows[2][1]) > 10) and "the limit is 10" in said
