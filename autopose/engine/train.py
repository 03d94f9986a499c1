"""Training a network, from scratch (§4.2) or from another training's network."""

import json
import logging
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from autopose import kernels
from autopose.config import MAY_CHANGE, Config, TrainConfig
from autopose.data.schema import schema_to_dict
from autopose.data.stream import BatchStream, Loader, LoaderFailed, place
from autopose.errors import UserError
from autopose.evaluation.constant_pose import ConstantPose
from autopose.evaluation.evaluation import evaluate, main_metric, rehearse
from autopose.evaluation.inference import Poses
from autopose.evaluation.scoring import Score
from autopose.files import save_json
from autopose.models import PoseNetwork, joints_mse_loss
from autopose.models.guard import READ_EVERY, BadSteps, ExponentialAverage, Undo, step_unless
from autopose.models.steps import Batch, backward, fused
from autopose.nas.randomness import derive_seed
from autopose.report.architecture_figure import draw_architecture
from autopose.report.contact_sheet import save_contact_sheet, sheet_of
from autopose.report.curves import draw_training_curves
from autopose.runs.checkpoint import CheckpointStore, fitting
from autopose.runs.clock import Clock
from autopose.runs.datasets import load_annotations, pose_dataset, training_samples
from autopose.runs.memory import explain_out_of_memory, log_prediction, plain_passes
from autopose.runs.pretrained import load_pretrained
from autopose.runs.record import Losses, StepTrace, open_log, rehearse_picture
from autopose.runs.runtime import Interrupted, Runtime, progress_bar
from autopose.runs.threads import choose_threads
from autopose.space import Architecture

logger = logging.getLogger("autopose")


def recipe_optimizer(network: PoseNetwork, settings: TrainConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer of a training's recipe, for a network on the device."""
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(
        network.parameters(), settings.lr, tuple(settings.betas), weight_decay=settings.weight_decay,
        fused=fused(device),
    )  # fmt: skip


def learning_rate(settings: TrainConfig, epoch: int, step: int) -> float:
    """Of a step, counted from the beginning, that lies in an epoch."""
    lr = settings.lr * settings.lr_gamma ** sum(epoch >= milestone for milestone in settings.milestones)
    return lr * (step + 1) / settings.warmup_steps if step < settings.warmup_steps else lr


class TrainRun:
    """One training on one process; ``run`` returns the final scores."""

    def __init__(self, config: Config, runtime: Runtime, architecture: Architecture, pretrained: dict | None = None):
        """
        Args:
            config, runtime: of the run.
            architecture: of the network.
            pretrained: content of a training checkpoint to start from, see ``load_pretrained``.
        """
        self.config, self.runtime, self.settings = config, runtime, config.train
        runtime.check_batch(self.settings.batch_size, self.settings.accumulate)
        self.architecture = architecture
        space = architecture.space(config.train.width)
        space.macro.check_image_size(config.data.image_size)
        self.validation = load_annotations(config.data, "val")
        train = load_annotations(config.data, "train")
        self.data = pose_dataset(train, config.data, augment=True)
        self.constant = ConstantPose.of(train.persons, train.schema)
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.network = PoseNetwork(
            space, train.schema.num_joints, config.space.derived_affine, config.kernels,
            config.train.activation_checkpointing,
        )  # fmt: skip
        if pretrained is not None:
            logger.info("pretrained %s: %s", config.checkpoint, load_pretrained(self.network, pretrained, train.schema))
        self.network.place(runtime.device).train()
        self.network.state.synchronised = config.train.sync_bn
        self.passes = plain_passes(self.network, runtime.precision, self.network)
        batch = self.settings.batch_size // runtime.world_size // self.settings.accumulate
        choose_threads(config.threads, self.network, config.data.image_size, batch, self.passes, runtime)
        self._wrap()
        self.optimizer = recipe_optimizer(self.network, config.train, runtime.device)
        self.epoch = self.iteration = 0
        self.bad_steps = BadSteps(config.train.max_bad_steps)
        self.best = float("-inf")
        self.losses = Losses()
        self.log = open_log(config, runtime)
        self.clock, self.trace = Clock(), StepTrace(runtime.folder, config.trace and runtime.is_main)
        self.read_every = 1 if config.trace else READ_EVERY
        self.poses: Poses | None = None
        self.store = CheckpointStore(
            runtime.folder,
            "train",
            config.to_dict(),
            config.train.keep_checkpoints,
            runtime.world_size,
            {"train": train.digest(), "val": self.validation.digest()},
            runtime.precision,
        )
        self._describe()

    def _wrap(self) -> None:
        self.model: nn.Module = self.network
        if self.runtime.world_size > 1:
            devices = [self.runtime.device] if self.runtime.device.type == "cuda" else None
            self.model = nn.parallel.DistributedDataParallel(self.network, device_ids=devices)
        ema = self.settings.ema
        self.averaged = ExponentialAverage(self.network, ema) if ema else None

    @property
    def iterations(self) -> int:
        """Steps of an epoch."""
        return max(1, round(len(self.data) / self.settings.batch_size))

    def _describe(self) -> None:
        parameters = sum(p.numel() for p in self.network.parameters()) / 1e6
        logger.info("network    beta %s, %.2f M parameters", self.architecture.macro, parameters)
        logger.info("precision  %s", self.runtime.precision)
        for line in kernels.describe(self.network.choice, self.runtime.device, self.runtime.precision.dtype):
            logger.info("kernel     %s", line)
        for line in self.network.describe():
            logger.info("cells      %s", line)
        config, size = self.config, self.config.data.image_size
        count = min(config.evaluate.batch_size, len(self.validation.persons))
        inference = partial(rehearse, self.network, self.validation, config.data, config.evaluate, self.runtime)
        later = [(count, inference), (1, self._rehearse_picture)][: 2 if self.runtime.is_main else 1]
        log_prediction("train", self.network, self.settings, size, self.runtime, self.passes, later=later)

    def _rehearse_picture(self, _: int) -> None:
        """The picture that follows an evaluation, of annotated poses."""
        truth = np.stack([person.joints for person in self.validation.persons])
        poses = Poses(np.arange(len(truth)), truth, np.ones(truth.shape[:2]))
        rehearse_picture(sheet_of(self.validation, poses))

    def run(self, figures: bool = True) -> list[Score]:
        """Train all epochs and score the final (averaged, where ``ema``) network; resumes where asked."""
        rows: list[dict] = []
        if self.config.resume == "auto":
            rows = self._resume()
        else:
            self.store.refuse_existing()
        with explain_out_of_memory("train"):
            with self.runtime.stop.deferred():
                if self.runtime.is_main:
                    self.architecture.save(self.runtime.folder / "architecture.json")
                    self.log.open(rows)
                try:
                    scores = self._loop()
                except LoaderFailed:
                    self._save()
                    raise
            scores = scores or self._evaluate()
        if self.runtime.is_main:
            if figures:
                with self.clock.phase("figures"):
                    self._draw()
            self.log.close()
        return scores

    def _loop(self) -> list[Score]:
        """All epochs that are left; the scores of the last one, none where the training was over already."""
        scores: list[Score] = []
        done, batches = self.epoch * self.iterations + self.iteration, self.batches()
        with progress_bar(self.settings.epochs * self.iterations, done, self.runtime) as bar:
            while self.epoch < self.settings.epochs:
                scores = self._epoch(batches, bar)
        return scores

    def _draw(self) -> None:
        folder = self.runtime.folder
        draw_training_curves(self.log.rows, folder / "training_curves.png")
        draw_architecture(self.architecture, folder / "architecture.png")
        save_contact_sheet(self.validation, self.poses, folder)

    def _epoch(self, batches: Iterator[Batch], bar: tqdm) -> list[Score]:
        started, before = time.monotonic(), self.iteration
        lr = self._set_lr(self.epoch * self.iterations + max(before - 1, 0))
        for batch in islice(self.clock.waiting(batches, steps="steps"), self.iterations - before):
            step = self.epoch * self.iterations + self.iteration
            lr = self._set_lr(step)
            with self.clock.phase("steps"):
                loss = {"loss": self.step(batch)}
                self.losses.add(loss)
                self.iteration += 1
                if self.iteration % self.read_every == 0 or self.iteration == self.iterations:
                    self._read()
            self.trace.write(step, (batch,), loss)
            self._after_iteration(bar)
        waits = self.clock.waits("steps", self.config.data.workers)
        if waits:
            logger.warning("caution    %s", waits)
        scores = self._evaluate() if self._evaluates() else []
        losses = self._read()
        mean_loss = sum(losses) / len(losses)
        row = {"epoch": self.epoch, "loss": mean_loss, "lr": lr, "bad_steps": self.bad_steps.count}
        if scores:
            row["metrics"] = {name: value for score in scores for name, value in score.metrics.items()}
            row["constant_pose"] = {name: value for score in scores for name, value in score.constant.items()}
        seconds = (time.monotonic() - started) / max(self.iterations - before, 1)
        shown = "  ".join(f"{n} {v:.3f}" for n, v in [main_metric(scores)]) if scores else ""
        logger.info("epoch %d  loss %.3e  lr %.1e  %.2f s/it  %s", self.epoch, mean_loss, lr, seconds, shown)
        if self.runtime.is_main:
            self.log.write(row)
            if scores and self.poses is not None:
                self.log.picture("predictions", sheet_of(self.validation, self.poses), self.epoch)
        improved = bool(scores) and main_metric(scores)[1] > self.best
        if improved:
            self.best = main_metric(scores)[1]
        self.epoch, self.iteration, self.losses = self.epoch + 1, 0, Losses()
        self._save(best=improved)
        self._stop_if_asked()
        return scores

    def _evaluates(self) -> bool:
        """Whether the current epoch ends with an evaluation."""
        every, number = self.settings.evaluate_every, self.epoch + 1
        return number == self.settings.epochs or bool(every and number % every == 0)

    def batches(self) -> Iterator[Batch]:
        """Batches from the current step to the end, on the device."""
        runtime, device = self.runtime, self.runtime.device
        first = self.epoch * self.iterations + self.iteration
        stream = BatchStream(
            len(self.data), self.settings.batch_size, derive_seed(self.config.seed, "batches", "train"),
            first, self.settings.epochs * self.iterations - first, runtime.rank, runtime.world_size,
        )  # fmt: skip
        samples = training_samples(self.data, self.config.data, device)
        for batch in Loader(samples, stream, self.config.data.workers, device.type == "cuda"):
            yield place(batch, device)

    def _set_lr(self, step: int) -> float:
        lr = learning_rate(self.settings, self.epoch, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _read(self) -> list[float]:
        """Wait for the steps so far, Diverged where too many were bad; the losses of this epoch."""
        self.bad_steps.read()
        return self.losses.read()["loss"]

    def step(self, batch: Batch) -> Tensor:
        """One optimizer step over ``accumulate`` micro-batches, that of none where it is not finite; its loss ().

        The host waits for nothing in here.
        """
        self.optimizer.zero_grad()
        undo = Undo(self.network.buffers())
        total = backward(batch, self.settings.accumulate, self._loss)
        limit = self.settings.grad_clip or float("inf")
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        bad = self.bad_steps.judge(norm, self.epoch * self.iterations + self.iteration)
        step_unless(bad, self.optimizer)
        undo(bad)
        if self.averaged is not None:
            self.averaged.update(self.network, bad)
        return total

    def _loss(self, batch: Batch) -> Tensor:
        with self.runtime.precision.autocast(self.runtime.device):
            heatmaps = self.model(batch["image"])
        return joints_mse_loss(heatmaps, batch["target"], batch["target_weight"])

    def _evaluate(self) -> list[Score]:
        """Scores of the network; every process evaluates with the first one's running statistics, which are saved."""
        if self.runtime.world_size > 1:
            for buffer in (*self.network.buffers(), *(self.averaged.buffers() if self.averaged is not None else ())):
                dist.broadcast(buffer, src=0)
        network = self.network if self.averaged is None else self.averaged.module
        try:
            # No state moves in here, so a signal need not wait for the end of a long validation.
            with self.clock.phase("evaluation"), self.runtime.stop.deferred(False):
                found = evaluate(
                    network, self.validation, self.config.data, self.config.evaluate, self.runtime, self.constant
                )
        except Interrupted as interrupted:
            self._save()
            raise Interrupted(interrupted.signum, self.store.status()) from None
        if self.runtime.is_main:
            self.poses = found.poses
            save_json(self.runtime.folder / "results" / f"keypoints_{self.config.data.val_split}.json", found.results)
        return found.scores

    def _after_iteration(self, bar: tqdm) -> None:
        bar.update()
        if self.iteration % READ_EVERY == 0:
            recent = self.losses.read()["loss"][-20:]
            bar.set_postfix({"loss": f"{sum(recent) / len(recent):.2e}"}, refresh=False)
        self._stop_if_asked()
        every = self.settings.checkpoint_every
        if every and self.iteration % every == 0 and self.iteration < self.iterations:
            self._save()

    def _stop_if_asked(self) -> None:
        signum = self.runtime.stop.agreed()
        if signum:
            self._save()
            raise Interrupted(signum, self.store.status())

    def _save(self, best: bool = False) -> None:
        if not self.log.is_open:
            return
        network = self.network if self.averaged is None else self.averaged.module
        state = {
            "network": self.network.state_dict(),
            "evaluated": network.state_dict() if self.averaged is not None else None,
            "averaged": self.averaged.state_dict() if self.averaged is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "position": [self.epoch, self.iteration],
            "bad_steps": self.bad_steps.state_dict(),
            "best": self.best,
            "losses": self.losses.read().get("loss", []),
            "rows": json.dumps(self.log.rows),
            "num_joints": self.network.num_joints,
            "schema": schema_to_dict(self.validation.schema),
            "constant_pose": self.constant.to_dict(),
        }
        order = (self.epoch * (self.iterations + 1)) + self.iteration
        where = f"epoch {self.epoch}, iteration {self.iteration}"
        self.store.save(order, state, where, self.architecture.to_json(), best)

    def _resume(self) -> list[dict]:
        content = self.store.resume(MAY_CHANGE["train"])
        if content is None:
            return []
        with fitting("the training checkpoint"):
            known, given = content["architecture"], self.architecture.to_json()
            if any(known[key] != given[key] for key in ("space", "beta", "cells")):
                raise UserError(
                    "this run was started with another architecture: give that one, or start a new run in another "
                    "hydra.run.dir"
                )
            state = content["state"]
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.averaged is not None:
                self.averaged.load_state_dict(state["averaged"])
            self.epoch, self.iteration = state["position"]
            self.bad_steps.load_state_dict(state["bad_steps"])
            self.best, self.losses = state["best"], Losses({"loss": state["losses"]})
            return json.loads(state["rows"])
