"""Trial trainings: which of several architectures learns fastest, told by its first steps from scratch."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, inf, isfinite, nan
from pathlib import Path

import torch
import torch.distributed as dist

from autopose.config import Config
from autopose.data.dataset import PoseDataset
from autopose.data.stream import BatchStream, Loader, place
from autopose.engine.train import learning_rate, recipe_optimizer
from autopose.errors import Diverged, UserError
from autopose.files import save_json
from autopose.models import PoseNetwork, joints_mse_loss
from autopose.models.steps import micro_batches
from autopose.nas.randomness import derive_seed
from autopose.runs.datasets import training_samples
from autopose.runs.runtime import Runtime, progress_bar
from autopose.space import Architecture

logger = logging.getLogger("autopose")

# In place of a repeat's number: the finalists' longer training.
FINAL = -1


@dataclass
class Trial:
    """What an architecture's trial trainings showed.

    Attributes:
        losses: mean training loss of each of its repeats.
        last: of the last quarter of its longer training; nan where it had none or diverged.
    """

    losses: list[float] = field(default_factory=list)
    last: float = nan

    @property
    def loss(self) -> float:
        """Mean over the repeats; inf where one diverged."""
        mean = sum(self.losses) / len(self.losses)
        return mean if isfinite(mean) else inf


class Done:
    """Losses of trial trainings that are done, in ``trials.json``: an interrupted derivation goes on with the rest."""

    def __init__(self, path: Path, recipe: dict, runtime: Runtime):
        """
        Args:
            path: of the file; one of another recipe, or that cannot be read, is begun anew.
            recipe: everything but architecture and seed that losses depend on.
            runtime: its main process reads and writes.
        """
        self.path, self.runtime = path, runtime
        self.recipe = hashlib.sha256(repr(recipe).encode()).hexdigest()
        shared: list[dict] = [self._read() if runtime.is_main else {}]
        if runtime.world_size > 1:
            dist.broadcast_object_list(shared, 0)
        self.losses: dict[str, list[float]] = shared[0]

    def _read(self) -> dict:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return content["losses"] if content["recipe"] == self.recipe else {}
        except (OSError, ValueError, LookupError, TypeError):
            return {}

    def add(self, losses: dict[str, list[float]]) -> None:
        """Trainings that have ended, by their keys; a disk that does not take them stops nothing."""
        self.losses |= losses
        if self.runtime.is_main:
            try:
                save_json(self.path, {"recipe": self.recipe, "losses": self.losses})
            except UserError as error:
                logger.warning("trials     %s: if this run is interrupted now, its trial trainings are repeated", error)


class Trials:
    """Training speed estimation (Ru et al., "Speedy Performance Estimation for Neural Architecture Search", NeurIPS
    2021) with the recipe of ``train``: the mean loss of the first steps, over several initial weights. Then, of the
    finalists, the loss at the end of a shorter training with the whole schedule.

    Every architecture of a repeat starts from the same seed and sees the same pictures in the same order. Each further
    repeat is for the better half. Several processes share the architectures.
    """  # fmt: skip

    def __init__(
        self, config: Config, runtime: Runtime, data: PoseDataset, before_each: Callable[[], None] = lambda: None,
        done: Done | None = None,
    ):  # fmt: skip
        """
        Args:
            config, runtime: of the run; ``search.trials`` and ``train`` say how long and how is trained.
            data: augmented, of the size that the derived network will be trained at.
            before_each: called before every training, on all processes as often; may raise.
            done: trainings that need not be made, and where those that end are written.
        """
        self.config, self.runtime, self.data, self.before_each = config, runtime, data, before_each
        self.settings, self.done = config.search.trials, done

    def trainings(self, count: int) -> int:
        """How many ``rank`` makes of that many architectures, without those of the finalists."""
        return sum(ceil(count / 2**repeat) for repeat in range(self.settings.repeats))

    def finalists(self, count: int) -> int:
        """How many of that many architectures are trained longer."""
        return min(count, self.settings.finalists)

    def rank(self, architectures: Sequence[Architecture]) -> tuple[int, list[Trial]]:
        """The position of the architecture that learns fastest, or of the best finalist, and what each showed.

        Raises:
            Diverged: none of them had finite losses.
        """
        trials = [Trial() for _ in architectures]
        order, standing = list(range(len(architectures))), len(architectures)
        with progress_bar(self.trainings(len(order)), 0, self.runtime) as bar:
            for repeat in range(self.settings.repeats):
                found = self._trained([architectures[i] for i in order[:standing]], repeat, bar.update)
                for i, losses in zip(order, found, strict=False):
                    trials[i].losses.append(sum(losses) / len(losses))
                order[:standing] = sorted(order[:standing], key=lambda i: trials[i].loss)
                standing = ceil(standing / 2)
        order = [i for i in order if isfinite(trials[i].loss)][: self.finalists(len(order)) or 1]
        if self.settings.finalists and order:
            with progress_bar(len(order), 0, self.runtime) as bar:
                found = self._trained([architectures[i] for i in order], FINAL, bar.update)
                for i, losses in zip(order, found, strict=True):
                    end = losses[-ceil(len(losses) / 4) :]
                    trials[i].last = sum(end) / len(end)
            order = sorted((i for i in order if isfinite(trials[i].last)), key=lambda i: trials[i].last)
        if not order:
            raise Diverged("every trial training of the derivation diverged: lower train.lr")
        return order[0], trials

    def _trained(
        self, architectures: Sequence[Architecture], repeat: int, update: Callable[[int], object]
    ) -> list[list[float]]:
        """Losses of one training of each; this process trains every ``world_size``-th that is not done yet."""
        rank, world_size = self.runtime.rank, self.runtime.world_size
        keys = [self._key(architecture, repeat) for architecture in architectures]
        losses = {key: self.done.losses[key] for key in keys if key in self.done.losses} if self.done else {}
        update(len(losses))
        missing = [index for index, key in enumerate(keys) if key not in losses]
        for start in range(0, len(missing), world_size):
            self.before_each()
            together = missing[start : start + world_size]
            mine = {keys[i]: self.losses(architectures[i], repeat) for i in together[rank : rank + 1]}
            shares: list = [mine]
            if world_size > 1:
                shares = [None] * world_size
                dist.all_gather_object(shares, mine)
            found = {key: values for share in shares for key, values in share.items()}
            losses |= found
            if self.done:
                self.done.add(found)
            update(len(together))
        return [losses[key] for key in keys]

    def _key(self, architecture: Architecture, repeat: int) -> str:
        """Of a training."""
        content = json.dumps(replace(architecture, found_by={}).to_json(), sort_keys=True)
        return f"{hashlib.sha256(content.encode()).hexdigest()[:16]} {repeat} {self.steps(repeat)}"

    def steps(self, repeat: int) -> int:
        """Of a training with the ``repeat``-th seed."""
        return self.settings.finalist_steps if repeat == FINAL else self.settings.steps

    def losses(self, architecture: Architecture, repeat: int) -> list[float]:
        """Training loss of each step from scratch, by the ``repeat``-th seed: of the first steps of ``train``, or with
        ``FINAL`` of a training whose schedule ends after ``search.trials.finalist_steps``.
        """
        config, device, settings = self.config, self.runtime.device, self.config.train
        steps = self.steps(repeat)
        torch.manual_seed(derive_seed(config.seed, "trial weights", repeat))
        network = PoseNetwork(
            architecture.space(config.search.width), self.data.annotations.schema.num_joints,
            config.space.derived_affine, config.kernels, settings.activation_checkpointing,
        )  # fmt: skip
        network.place(device).train()
        optimizer = recipe_optimizer(network, settings, device)
        stream = BatchStream(
            len(self.data), settings.batch_size, derive_seed(config.seed, "trial batches", repeat), 0, steps
        )
        workers, found = config.data.workers, torch.zeros(steps, device=device)
        batches = Loader(training_samples(self.data, config.data, device), stream, workers, device.type == "cuda")
        for step, batch in enumerate(batches):
            epoch = step * settings.epochs // steps if repeat == FINAL else 0
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, epoch, step)
            optimizer.zero_grad()
            for micro, share in micro_batches(place(batch, device), settings.accumulate):
                with self.runtime.precision.autocast(device):
                    heatmaps = network(micro["image"])
                loss = joints_mse_loss(heatmaps, micro["target"], micro["target_weight"]) * share
                loss.backward()
                found[step] += loss.detach()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.grad_clip or inf)
            optimizer.step()
        return found.tolist()
