"""The controller's reward (§3.2.1, §4.2): average precision of the supernet under β, with shared weights."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite

import numpy as np
import torch
from torch import Tensor

from autopose.config import RewardConfig
from autopose.data.affine import transform_points
from autopose.data.dataset import PoseDataset, as_input
from autopose.data.records import Person
from autopose.engine.reward_subset import RewardSubset
from autopose.errors import Diverged, UserError
from autopose.evaluation.inference import Poses, decoded, gathered, joined
from autopose.lookup import lookup
from autopose.metrics.fast_ap import fast_ap, index_truth
from autopose.metrics.pck import choose_reference, pck, pckh, reference_sizes, weighted_mean
from autopose.metrics.rescore import rescore
from autopose.models import PoseNetwork, joints_mse_loss
from autopose.models.several import heatmaps_of_each
from autopose.models.steps import average
from autopose.nas import ArchitectureParameters, cells_of, derive_ops, one_op_network
from autopose.nas.algorithms import Candidate
from autopose.nas.cost import Cost, Penalty, within
from autopose.runs.precision import FP32, Precision
from autopose.space import MacroArchitecture
from autopose.space.macs import count_macs

# β scored in one pass at most: between passes a run can be stopped.
TOGETHER = 4
Forward = Callable[[Tensor], Iterable[tuple[MacroArchitecture, Tensor]]]


class RewardScorer:
    """Scores β (and optionally given operations) on a fixed subset, which is decoded once and kept in memory.

    Whole batches are dealt to the processes in turn, so that batch statistics, and with them the reward, do not depend
    on the number of processes.
    """

    def __init__(
        self,
        network: PoseNetwork,
        alphas: ArchitectureParameters,
        dataset: PoseDataset,
        settings: RewardConfig,
        device: torch.device,
        width: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        calibration: Iterable[dict] = (),
        before_score: Callable[[], None] = lambda: None,
        max_skips: int | None = None,
        derived_size: Sequence[int] | None = None,
        penalty: Penalty | None = None,
        min_gmacs: float = 0.0,
        max_gmacs: float = 0.0,
        precision: Precision = FP32,
    ):
        """
        Args:
            network, alphas: the supernet; their present state is scored.
            dataset: the reward subset.
            width: channels of the derived network over the supernet's, for its multiply-adds.
            rank, world_size: this process among those that share the batches.
            workers: loader processes that decode the subset once.
            calibration: batches that recalibrate running statistics; read once, and only if they are needed.
            before_score: called before every score, which takes long on a large subset; may raise.
            max_skips: cap on skip connections with which operations are derived.
            derived_size: [width, height] that the derived network will be trained with; None: the subset's.
            penalty: of a cost, taken from every reward.
            min_gmacs, max_gmacs: that derived networks may have (0: any).
            precision: of forward passes.
        """
        self.network, self.alphas, self.dataset, self.settings = network, alphas, dataset, settings
        self.device, self.width, self.precision = device, width, precision
        annotations = dataset.annotations
        if annotations.coco_gt is not None:
            self._truth = index_truth(annotations.coco_gt, annotations.schema.sigmas)
        self._subset = RewardSubset(
            dataset, settings.batch_size, device, settings.resident_gib, rank, world_size, workers
        )
        self._cache: dict[MacroArchitecture, float] = {}
        self._calibration, self._calibrating = calibration, None
        self.before_score = before_score
        self.max_skips, self.derived_size = max_skips, derived_size or dataset.size_wh
        self.penalty, self.min_gmacs, self.max_gmacs = penalty, min_gmacs, max_gmacs
        self._multiply_adds = Cost(network.space, width, self.derived_size, network.num_joints)
        self._multiply_adds.check_target(max_gmacs, "search.max_gmacs")
        self._multiply_adds.check_least(min_gmacs, "search.min_gmacs")
        self._check()

    def _check(self) -> None:
        """UserError where the subset holds nobody that the metric can score: every reward would be no number."""
        annotations = self.dataset.annotations
        persons, metric = annotations.persons, self.settings.metric
        if metric == "oks_ap" and annotations.coco_gt is None:
            # MPII has no OKS: its own metric is PCKh.
            metric = "pckh"
        self.metric = metric
        if metric == "pckh" and not any(p.head_size for p in persons):
            raise UserError(self._unusable("with a head size"))
        if metric in ("pck", "oks_ap") and not any(p.visible.any() for p in persons):
            raise UserError(self._unusable("with a labelled joint"))
        if metric == "pck" and not np.isfinite(self._reference_sizes(persons)).any():
            raise UserError(self._unusable("whose size is labelled (left shoulder and right hip)"))

    def _unusable(self, missing: str) -> str:
        return (
            f"search.reward.metric={self.settings.metric} cannot be computed: nobody of the {len(self.dataset)} people "
            f"of the reward subset is one {missing}; raise search.reward.images or choose negative_loss"
        )

    def clear(self) -> None:
        """Forget scores: the weights have moved."""
        self._cache.clear()

    def __call__(self, beta: MacroArchitecture) -> float:
        """Reward of β under the derived (argmax) or relaxed operations, from the cache where it is known."""
        return self.each([beta])[0]

    def candidates(self, candidates: Sequence[Candidate]) -> list[float]:
        """Rewards of candidates of an algorithm: from the cache where α gives the operations."""
        plain = iter(self.each([each.beta for each in candidates if each.ops is None]))
        return [next(plain) if each.ops is None else self._of_given(each.beta, each.ops) for each in candidates]

    def _of_given(self, beta: MacroArchitecture, ops: dict[str, list[int]]) -> float:
        beyond = self._beyond(beta, ops)
        return self.score(beta, ops) if beyond <= 0 else -1.0 - beyond

    def ops_of(self, beta: MacroArchitecture, ops: dict[str, list[int]] | None = None) -> dict[str, list[int]] | None:
        """Operations derived under β: the given ones or α's argmax, made cheaper where ``max_gmacs`` asks for it.

        None where no operations are cheap enough, or the network is smaller than ``min_gmacs``.
        """
        ops = derive_ops(self.alphas, self.max_skips) if ops is None else ops
        excess = self.gmacs(beta, ops) - self.max_gmacs if self.max_gmacs else 0.0
        if excess > 0:
            prices = self._multiply_adds.prices(self.alphas, beta)
            excess += 1e-9 * self.max_gmacs
            ops = within(self.alphas, ops, prices, excess, self.max_skips is not None)
        return ops if ops is not None and self.affords(beta, ops) else None

    def affords(self, beta: MacroArchitecture, ops: dict[str, list[int]]) -> bool:
        """Whether an architecture keeps ``min_gmacs`` and ``max_gmacs``."""
        return self._beyond(beta, ops) <= 0

    def _beyond(self, beta: MacroArchitecture, ops: dict[str, list[int]]) -> float:
        """By what share of a limit an architecture lies above ``max_gmacs`` or below ``min_gmacs``; else at most 0."""
        if not self.min_gmacs and not self.max_gmacs:
            return 0.0
        gmacs = self.gmacs(beta, ops)
        over = gmacs / self.max_gmacs - 1 if self.max_gmacs else -1.0
        return max(over, 1 - gmacs / self.min_gmacs if self.min_gmacs else -1.0)

    def each(self, betas: Sequence[MacroArchitecture]) -> list[float]:
        """Rewards of several β as of one at a time; what they have in common is computed once."""
        known = self._cache if self.settings.cache else {}
        fresh = [beta for beta in dict.fromkeys(betas) if beta not in known]
        for start in range(0, len(fresh), TOGETHER):
            together = fresh[start : start + TOGETHER]
            limited = self.min_gmacs or self.max_gmacs
            found = self._limited(together) if limited else self._scores(together)
            known = known | dict(zip(together, found, strict=True))
        if self.settings.cache:
            self._cache.update(known)
        return [known[beta] for beta in betas]

    def _limited(self, betas: Sequence[MacroArchitecture]) -> list[float]:
        """Scores with operations that keep the limits for each β; worse than any reward where there are none."""
        found = []
        for beta in betas:
            ops = self.ops_of(beta)
            if ops is None:
                found.append(-1.0 - max(0.0, self._beyond(beta, derive_ops(self.alphas, self.max_skips))))
            else:
                found.append(self.score(beta, ops))
        return found

    def score(
        self,
        beta: MacroArchitecture,
        ops: dict[str, list[int]] | None = None,
        shuffle: int | None = None,
        penalised: bool = True,
    ) -> float:
        """Reward of β, of given operations instead of α's, or over batches composed anew by the seed ``shuffle``.

        Args:
            penalised: with the penalty of multiply-adds, where one is configured.

        Raises:
            Diverged: the score is not finite.
        """
        return self._scores([beta], ops, shuffle, penalised)[0]

    @torch.no_grad()
    def _scores(self, betas: list[MacroArchitecture], ops=None, shuffle=None, penalised: bool = True) -> list[float]:
        self.before_score()
        relaxed = ops is None and self.settings.ops == "relaxed"
        ops = derive_ops(self.alphas, self.max_skips) if ops is None else ops
        # Statistics recalibrated for one β are not another's.
        together = [[beta] for beta in betas] if self.settings.batch_norm == "recalibrated" else [betas]
        found: dict[MacroArchitecture, float] = {}
        with self._own_statistics():
            for some in together:
                self._normalise(some[0], self.alphas.mean() if relaxed else self.alphas.fixed(ops))
                found |= self._measure(self._forward(some, None if relaxed else ops), some, shuffle)
        for beta, value in found.items():
            if not isfinite(value):
                raise Diverged(
                    f"the reward of beta {beta} is not finite ({value}): the supernet's weights have diverged"
                )
        return [found[beta] - (self._penalty(beta, ops) if penalised else 0.0) for beta in betas]

    def _forward(self, betas: Sequence[MacroArchitecture], ops: dict[str, list[int]] | None) -> Forward:
        """Images to (β, heatmaps) of every β: of the network of these operations, of the relaxed supernet for None."""
        if ops is None:
            mixtures = self.alphas.mean()
            return self._under(lambda images: heatmaps_of_each(self.network, images, betas, mixtures))
        network = one_op_network(self.network, self.alphas, ops, betas[0] if len(betas) == 1 else None)
        if not network.state.training and network.foldable:
            network = network.for_inference()
        return self._under(lambda images: heatmaps_of_each(network, images, betas))

    def _under(self, forward: Forward) -> Forward:
        """A forward pass under the precision, whole: between its results nothing else runs under it."""
        return self.precision.wrapped(lambda images: list(forward(images)), self.device)

    @torch.no_grad()
    def loss(self, beta: MacroArchitecture, relaxed: bool) -> float:
        """Mean heatmap loss on the subset under the relaxed or the argmax operations, with batch statistics."""
        with self._own_statistics():
            self.network.set_norm("batch")
            forward = self._forward([beta], None if relaxed else derive_ops(self.alphas, self.max_skips))
            return self._losses(forward, [beta], None)[beta]

    @contextmanager
    def _own_statistics(self) -> Iterator[None]:
        """Statistics of each process's own batches, which are not the others'; then training's normalisation again."""
        state = self.network.state
        mode, synchronised = state.mode, state.synchronised
        state.synchronised = False
        try:
            yield
        finally:
            state.mode, state.synchronised = mode, synchronised

    def _normalise(self, beta: MacroArchitecture, mixtures: list) -> None:
        mode = self.settings.batch_norm
        if mode == "recalibrated":
            self.network.set_norm("track")
            if self._calibrating is None:
                self._calibrating = [batch["image"] for batch in self._calibration]
            for number, images in enumerate(self._calibrating):
                self.network.state.momentum = 1 / (number + 1)
                with self.precision.autocast(self.device):
                    self.network(as_input(images.to(self.device)), beta, mixtures)
            self.network.state.momentum = 0.1
        self.network.set_norm("batch" if mode == "batch" else "running")

    @torch.inference_mode()
    def _measure(
        self, forward: Forward, betas: Sequence[MacroArchitecture], shuffle: int | None
    ) -> dict[MacroArchitecture, float]:
        if self.settings.metric == "negative_loss":
            return {beta: -value for beta, value in self._losses(forward, betas, shuffle).items()}
        table = {"pck": self._pck, "oks_ap": self._ap, "pckh": self._pckh}
        metric = table.get(self.metric) or self._of_outside
        return {beta: metric(poses) for beta, poses in self._poses(forward, betas, shuffle).items()}

    def _poses(
        self, forward: Forward, betas: Sequence[MacroArchitecture], shuffle: int | None
    ) -> dict[MacroArchitecture, Poses]:
        """Every person's pose under every β, from all processes."""
        parts: dict[MacroArchitecture, list[Poses]] = {beta: [] for beta in betas}
        for index, images in self._subset.share(shuffle):
            for beta, heatmaps in forward(images):
                coords, scores = decoded(heatmaps.float())
                joints = transform_points(coords, self._subset.back[index][:, None])
                parts[beta].append(Poses(index, joints, scores))
        return {beta: gathered(joined(mine) if mine else None) for beta, mine in parts.items()}

    def _ap(self, poses: Poses) -> float:
        persons = [self.dataset.annotations.persons[i] for i in poses.index]
        ids = np.array([p.image_id for p in persons])
        return max(fast_ap(self._truth, ids, poses.joints, rescore(np.ones(len(ids)), poses.scores))["AP"], 0.0)

    def _pck(self, poses: Poses) -> float:
        persons = [self.dataset.annotations.persons[i] for i in poses.index]
        truth, visible = np.stack([p.joints for p in persons]), np.stack([p.visible for p in persons])
        return weighted_mean(*pck(poses.joints, truth, visible, self._reference_sizes(persons), 0.2)) / 100

    def _reference_sizes(self, persons: Sequence[Person]) -> np.ndarray:
        truth, visible = np.stack([p.joints for p in persons]), np.stack([p.visible for p in persons])
        names = self.dataset.annotations.schema.plain_joints
        reference = choose_reference(names, self.dataset.annotations.whole_pictures)
        return reference_sizes(truth, visible, np.stack([p.bbox for p in persons]), names, reference)

    def _of_outside(self, poses: Poses) -> float:
        """The reward of another package's function."""
        value = lookup(self.metric, {}, "search.reward.metric")(poses, self.dataset.annotations)
        try:
            return float(value)
        except (TypeError, ValueError):
            raise UserError(f"search.reward.metric={self.metric} must return a number, not {value!r:.60}") from None

    def _pckh(self, poses: Poses) -> float:
        persons = [self.dataset.annotations.persons[i] for i in poses.index]
        truth, visible = np.stack([p.joints for p in persons]), np.stack([p.visible for p in persons])
        sizes = np.array([np.nan if p.head_size is None else p.head_size for p in persons])
        return pckh(poses.joints, truth, visible, sizes)["Mean"] / 100

    def _losses(
        self, forward: Forward, betas: Sequence[MacroArchitecture], shuffle: int | None
    ) -> dict[MacroArchitecture, float]:
        totals = dict.fromkeys(betas, 0.0)
        for index, images in self._subset.share(shuffle):
            target, weight = self._subset.target(index)
            for beta, heatmaps in forward(images):
                totals[beta] += joints_mse_loss(heatmaps, target, weight).item() * len(images)
        share = self._subset.world_size / len(self.dataset)
        return {beta: average(total) * share for beta, total in totals.items()}

    def _penalty(self, beta: MacroArchitecture, ops: dict[str, list[int]]) -> float:
        """What the cost and the multiply-adds of a derived network take from its reward."""
        cost = 0.0 if self.penalty is None else self.penalty.of(self.alphas, beta, cells_of(self.alphas, ops))
        if not self.settings.flops_weight:
            return cost
        over = self.gmacs(beta, ops) / self.settings.target_gmacs - 1
        return cost + self.settings.flops_weight * max(0.0, over)

    def gmacs(self, beta: MacroArchitecture, ops: dict[str, list[int]] | None = None) -> float:
        """Multiply-adds (10^9) of the network that would be derived, at its own width and size."""
        space = self.network.space.macro.widened(self.width)
        cells = cells_of(self.alphas, derive_ops(self.alphas, self.max_skips) if ops is None else ops)
        return count_macs(space, beta, cells, self.derived_size, self.network.num_joints) / 1e9
