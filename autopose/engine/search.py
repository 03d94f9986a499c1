"""A whole search: data, Algorithm 1, records, checkpoints, derivation."""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from math import inf

import torch
from tqdm import tqdm

from autopose import kernels
from autopose.config import MAY_CHANGE, Config
from autopose.data.schema import schema_to_dict
from autopose.data.splits import SearchSplit
from autopose.data.stream import BatchStream, Loader, LoaderFailed, place
from autopose.engine.derivation import derive_architecture
from autopose.engine.graphs import step_pieces
from autopose.engine.health import epoch_health
from autopose.engine.reward import RewardScorer
from autopose.engine.search_parts import check_joints, noise_of, penalty_of, split_of, trials_of
from autopose.engine.trials import Trials
from autopose.models import PoseNetwork
from autopose.models.guard import READ_EVERY
from autopose.models.steps import Batch
from autopose.nas import BilevelSearch, cells_of, derive_ops
from autopose.nas.algorithms import ALGORITHMS, algorithm_class
from autopose.nas.randomness import derive_seed
from autopose.report.architecture_figure import draw_architecture
from autopose.report.curves import draw_search_curves
from autopose.report.heatmaps import heatmap, side_by_side
from autopose.runs.checkpoint import CheckpointStore, fitting
from autopose.runs.clock import Clock
from autopose.runs.datasets import pose_dataset, training_samples
from autopose.runs.memory import explain_out_of_memory, report_memory, search_passes
from autopose.runs.record import Losses, StepTrace, open_log
from autopose.runs.runtime import Interrupted, Runtime, progress_bar
from autopose.runs.threads import choose_threads
from autopose.space import Architecture

logger = logging.getLogger("autopose")
# Distinct candidates of a derivation that are told.
CANDIDATES = 32
STEPS = "steps of weights and α"
METRIC_NAMES = {"oks_ap": "AP", "pck": "PCK", "pckh": "PCKh", "negative_loss": "negative loss"}


def metric_name(metric: str) -> str:
    """A reward's name in figures and tables; of another package's function its last word."""
    return METRIC_NAMES.get(metric, metric.rpartition(":")[2])


class SearchRun:
    """One search on one process; ``run`` returns the found architecture."""

    def __init__(self, config: Config, runtime: Runtime):
        self.config, self.runtime, self.settings = config, runtime, config.search
        runtime.check_batch(self.settings.batch_size, self.settings.accumulate * self.settings.paths)
        self.size = self.settings.image_size or config.data.image_size
        space = config.space.search_space()
        space.macro.check_image_size(self.size)
        split = split_of(config)
        self._build(space, split)
        self.sums = Losses()
        self.rewards: list[dict] = []
        self.log = open_log(config, runtime)
        self.clock, self.trace = Clock(), StepTrace(runtime.folder, config.trace and runtime.is_main)
        self.read_every = 1 if config.trace else READ_EVERY
        self.derived: list[dict] = []
        self.noise = noise_of(self.bilevel)
        self.store = CheckpointStore(
            runtime.folder, "search", config.to_dict(), self.settings.keep_checkpoints, runtime.world_size,
            {name: getattr(split, name).digest() for name in ("weights", "alpha", "reward")},
            runtime.precision,
        )  # fmt: skip

    def _build(self, space, split: SearchSplit) -> None:
        config, runtime, settings = self.config, self.runtime, self.settings
        torch.manual_seed(derive_seed(config.seed, "weights"))
        network = PoseNetwork(
            space, split.weights.schema.num_joints, config.space.supernet_affine, config.kernels,
            settings.activation_checkpointing,
        )  # fmt: skip
        network.place(runtime.device)
        network.state.synchronised = settings.sync_bn
        network.set_norm("track" if settings.reward.batch_norm == "running" else "batch")
        algorithm = algorithm_class(settings.algorithm, ALGORITHMS)
        penalty = penalty_of(config, space, split.weights.schema.num_joints)
        pieces = step_pieces(
            settings, network, runtime.device, runtime.precision.dtype, runtime.world_size,
            algorithm.operations == "random",
        )  # fmt: skip
        self.bilevel = BilevelSearch(
            network, settings, config.seed, algorithm, self.budget(), penalty, runtime.precision.half, pieces
        )
        batch = settings.batch_size // runtime.world_size // settings.accumulate
        passes = search_passes(network, settings.gumbel, runtime.precision, pieces is not None)
        choose_threads(config.threads, network, self.size, batch, passes, runtime)
        self.weight_data = pose_dataset(split.weights, config.data, self.size, augment=True)
        self.alpha_data = pose_dataset(split.alpha, config.data, self.size, augment=True)
        stream = BatchStream(
            len(self.weight_data), settings.batch_size, derive_seed(config.seed, "calibration"), 0,
            settings.reward.recalibration_batches,
        )  # fmt: skip
        self.reward = RewardScorer(
            network, self.bilevel.alphas, pose_dataset(split.reward, config.data, self.size), settings.reward,
            runtime.device, settings.width, runtime.rank, runtime.world_size, config.data.workers,
            Loader(self.weight_data, stream, config.data.workers), self._stop_if_asked, settings.max_skips,
            config.data.image_size, penalty, settings.min_gmacs, settings.max_gmacs, runtime.precision,
        )  # fmt: skip
        self._describe(space, network)

    def _describe(self, space, network: PoseNetwork) -> None:
        parameters = sum(p.numel() for p in network.parameters()) / 1e6
        logger.info("space      10^%.1f architectures, supernet of %.2f M parameters", space.log10_size(), parameters)
        logger.info("precision  %s", self.runtime.precision)
        for line in kernels.describe(network.choice, self.runtime.device, self.runtime.precision.dtype):
            logger.info("kernel     %s", line)
        for line in network.describe():
            logger.info("cells      %s", line)
        report_memory(network, self.settings, self.size, self.runtime, self.bilevel.pieces is not None)

    def run(self) -> Architecture:
        """Algorithm 1, then derivation (§3.3); resumes where asked."""
        rows: list[dict] = []
        if self.config.resume == "auto":
            rows = self._resume()
        else:
            self.store.refuse_existing()
        with explain_out_of_memory("search"):
            with self.runtime.stop.deferred():
                if self.runtime.is_main:
                    self.log.open(rows)
                try:
                    self._loop()
                except LoaderFailed:
                    self._save()
                    raise
            return self._finish()

    def _loop(self) -> None:
        settings, batches = self.settings, self.batches()
        with progress_bar(settings.epochs * settings.iterations, self.bilevel.step, self.runtime) as bar:
            while self.bilevel.position.epoch < settings.epochs:
                self._epoch(batches, bar)

    def _epoch(self, batches: Iterator[tuple[Batch, Batch]], bar: tqdm) -> None:
        """One epoch: N_iter cell updates, then N_ctr controller updates, then records."""
        search, settings = self.bilevel, self.settings
        started, before = time.monotonic(), search.position.iteration
        coming = islice(self.clock.waiting(batches, steps=STEPS), settings.iterations - before)
        for weight_batch, alpha_batch in coming:
            with self.clock.phase(STEPS):
                losses = search.cell_update(weight_batch, alpha_batch)
                self.sums.add(losses)
                if search.step % self.read_every == 0 or search.position.iteration == settings.iterations:
                    self._read()
            self.trace.write(search.step, (weight_batch, alpha_batch), losses)
            self._after_iteration(bar)
        waits = self.clock.waits(STEPS, self.config.data.workers)
        if waits:
            logger.warning("caution    %s", waits)
        self.reward.clear()
        told = search.algorithm.scoring == "epochs" and search.network.space.beta is None
        if search.controller_active and told:
            while search.position.controller_update < settings.controller.updates:
                with self.clock.phase("rewards"):
                    self.rewards.append(search.controller_update(self.reward.candidates))
                self._stop_if_asked()
        self._finish_epoch(time.monotonic() - started, settings.iterations - before)

    def _read(self) -> None:
        """Wait for the steps so far: Diverged where too many were bad."""
        self.bilevel.bad_steps.read()
        self.sums.read()

    def batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Pairs of a batch for ω and a batch for α from the current step to the end, on the device."""
        config, runtime, device = self.config, self.runtime, self.runtime.device
        loaders, remaining = [], self.settings.epochs * self.settings.iterations - self.bilevel.step
        for dataset, purpose in ((self.weight_data, "weights"), (self.alpha_data, "alpha")):
            stream = BatchStream(
                len(dataset), self.settings.batch_size, derive_seed(config.seed, "batches", purpose), self.bilevel.step,
                remaining, runtime.rank, runtime.world_size,
            )  # fmt: skip
            samples = training_samples(dataset, config.data, device)
            loaders.append(Loader(samples, stream, config.data.workers, device.type == "cuda"))

        for pair in zip(*loaders, strict=True):
            yield place(pair[0], device), place(pair[1], device)

    def _after_iteration(self, bar: tqdm) -> None:
        search, every = self.bilevel, self.settings.checkpoint_every
        bar.update()
        if search.step % READ_EVERY == 0:
            bar.set_postfix(self._postfix(), refresh=False)
        self._stop_if_asked()
        if every and search.step % every == 0 and search.position.iteration < self.settings.iterations:
            self._save()

    def _postfix(self) -> dict[str, str]:
        found = {name: f"{sum(v[-20:]) / len(v[-20:]):.2e}" for name, v in self.sums.read().items()}
        entropies = self.bilevel.alphas.entropy().values()
        found["H(α)"] = f"{sum(entropies) / len(entropies):.3f}"
        if self.rewards or self.log.rows:
            last = self.rewards[-1]["rewards"] if self.rewards else [self.log.rows[-1]["supernet_reward"]]
            found["R"] = f"{sum(last) / len(last):.3f}"
        return found

    def _finish_epoch(self, seconds: float, iterations: int) -> None:
        search = self.bilevel
        row = {"epoch": search.position.epoch, "tau": self.settings.gumbel.tau(search.progress)}
        row |= {name: sum(values) / len(values) for name, values in self.sums.read().items()}
        with self.clock.phase("health of the search"):
            row |= epoch_health(search, self.reward, self.rewards, self.settings.health)
        if self.noise:
            row["entropy_noise"] = self.noise[row["epoch"]]
        all_on = str(search.network.space.macro.all_on())
        policy, rewarded = "", "all branches" if row["supernet_beta"] == all_on else "favourite"
        if "entropy_policy" in row:
            policy = f" policy {row['entropy_policy']:.3f}"
            rewarded = "mode" if search.controller_active else "mode, policy untrained"
        logger.info(
            "epoch %d  loss %.3e  reward %.4f of %s (%s)  entropy α %.3f%s  %.2f s/it",
            row["epoch"], row["loss_train"], row["supernet_reward"], row["supernet_beta"], rewarded,
            row["entropy_alpha"]["mean"], policy, seconds / max(iterations, 1),
        )  # fmt: skip
        if self.runtime.is_main:
            self.log.write(row)
            self._draw_state(row["epoch"])
        self.sums, self.rewards = Losses(), []
        search.next_epoch()
        self._save()
        self._stop_if_asked()

    def _draw_state(self, epoch: int) -> None:
        """α's probabilities, edges by operations for each cell, and the policy's, stages by branches."""
        alphas = self.bilevel.alphas
        rows = {name: heatmap(alphas.logits([name]).detach().softmax(-1).cpu()) for name in alphas.columns}
        self.log.picture("alpha", side_by_side(rows), epoch)
        probabilities = self.bilevel.algorithm.probabilities()
        if probabilities is not None:
            self.log.picture("beta", heatmap(probabilities), epoch)

    def _stop_if_asked(self) -> None:
        signum = self.runtime.stop.agreed()
        if signum:
            self._save()
            raise Interrupted(signum, *[self.store.status()] * self.log.is_open)

    def _save(self) -> None:
        if not self.log.is_open:
            return
        state = {"search": self.bilevel.state_dict(), "sums": self.sums.read(), "rewards": self.rewards}
        state["schema"] = schema_to_dict(self.weight_data.annotations.schema)
        state["rows"] = json.dumps(self.log.rows)
        position = self.bilevel.position
        # Rises with iterations, controller updates and the step to the next epoch, which moves neither.
        updates = max(1000, self.settings.controller.updates + 1)
        where = f"epoch {position.epoch}, iteration {position.iteration}"
        order = (self.bilevel.step + position.epoch) * updates + position.controller_update
        self.store.save(order, state, where)

    def _resume(self) -> list[dict]:
        content = self.store.resume(MAY_CHANGE["search"])
        return [] if content is None else self.load(content)

    def load(self, content: dict) -> list[dict]:
        """Continue from a checkpoint's content; returns the rows of its epochs."""
        with fitting("the search checkpoint"):
            state = content["state"]
            check_joints(state.get("schema"), self.weight_data.annotations.schema)
            self.bilevel.load_state_dict(state["search"])
            self.sums, self.rewards = Losses(state["sums"]), state["rewards"]
            return json.loads(state["rows"])

    def derive(self) -> Architecture:
        """Derivation (§3.3) from the current state."""
        architecture, self.derived = derive_architecture(self.bilevel, self.reward, self.config, self.trials())
        for row in self.candidates():
            tried = f"  loss {row['loss']:.3e} of {row['trials']}" if "loss" in row else ""
            tried += f", {row['last_loss']:.3e} at last" if "last_loss" in row else ""
            times = f", {row['times']} times" * (row["times"] > 1)
            logger.info("derive     %s  reward %.4f%s  (%s%s)", row["beta"], row["reward"], tried, row["source"], times)
        return architecture

    def trials(self) -> Trials | None:
        """What chooses among the derivation's candidates, where it is not their rewards."""
        if not self.settings.trials.candidates:
            return None
        annotations, digests = self.weight_data.annotations, self.store.header["data"]
        return trials_of(self.config, self.runtime, annotations, digests, self._stop_if_asked)

    def favourite(self) -> Architecture:
        """The algorithm's favourite β with α's argmax operations."""
        search = self.bilevel
        cells = cells_of(search.alphas, derive_ops(search.alphas))
        return Architecture(search.network.space.macro, search.algorithm.favourite(), cells)

    def candidates(self) -> list[dict]:
        """The first distinct rows of the derivation, with how often each was there; the tried ones by rising loss."""
        counts = Counter(tuple(row.items()) for row in self.derived)
        rows = [{**dict(items), "times": count} for items, count in counts.items()]
        rows.sort(key=lambda row: (row.get("last_loss", inf), -row.get("trials", 0), row.get("loss", 0.0)))
        return rows[:CANDIDATES]

    def _finish(self) -> Architecture:
        # What the graphs of steps hold, gradients too, is for the derivation's trainings now.
        self.bilevel.pieces = None
        self.bilevel.network.zero_grad()
        with self.clock.phase("derivation"):
            architecture = self.derive()
        if self.runtime.is_main:
            folder = self.runtime.folder
            architecture.save(folder / "architecture.json")
            draw_architecture(architecture, folder / "architecture.png")
            draw_search_curves(self.log.rows, folder / "search_curves.png", metric_name(self.settings.reward.metric))
            self.log.close()
        return architecture

    def budget(self) -> int:
        """Rewards that Algorithm 1 would have taken: what the baselines may spend."""
        controller = self.settings.controller
        epochs = max(self.settings.epochs - controller.start_epoch, 0)
        return epochs * controller.updates * controller.samples + self.settings.derive_samples + 1
