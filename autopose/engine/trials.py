"""Trial trainings: which of several architectures learns fastest, told by its first steps from scratch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf, isfinite

import torch
import torch.distributed as dist

from autopose.config import Config
from autopose.data.dataset import PoseDataset
from autopose.data.stream import BatchStream, Loader, place
from autopose.engine.train import learning_rate, recipe_optimizer
from autopose.errors import Diverged
from autopose.models import PoseNetwork, joints_mse_loss
from autopose.models.steps import micro_batches
from autopose.nas.randomness import derive_seed
from autopose.runs.datasets import training_samples
from autopose.runs.runtime import Runtime, progress_bar
from autopose.space import Architecture


@dataclass
class Trial:
    """What an architecture's trial trainings showed.

    Attributes:
        losses: mean training loss of each of its repeats.
    """

    losses: list[float] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Mean over the repeats; inf where one diverged."""
        mean = sum(self.losses) / len(self.losses)
        return mean if isfinite(mean) else inf


class Trials:
    """Training speed estimation (Ru et al., "Speedy Performance Estimation for Neural Architecture Search", NeurIPS
    2021) with the recipe of ``train``: the mean loss of the first steps, over several initial weights.

    Every architecture of a repeat starts from the same seed and sees the same pictures in the same order. Each further
    repeat is for the better half. Several processes share the architectures.
    """  # fmt: skip

    def __init__(
        self, config: Config, runtime: Runtime, data: PoseDataset, before_each: Callable[[], None] = lambda: None
    ):
        """
        Args:
            config, runtime: of the run; ``search.trials`` and ``train`` say how long and how is trained.
            data: augmented, of the size that the derived network will be trained at.
            before_each: called before every training, on all processes as often; may raise.
        """
        self.config, self.runtime, self.data, self.before_each = config, runtime, data, before_each
        self.settings = config.search.trials

    def trainings(self, count: int) -> int:
        """How many ``rank`` makes of that many architectures."""
        return sum(ceil(count / 2**repeat) for repeat in range(self.settings.repeats))

    def rank(self, architectures: Sequence[Architecture]) -> tuple[int, list[Trial]]:
        """The position of the architecture that learns fastest, and what was seen of every one.

        Raises:
            Diverged: none of them had finite losses.
        """
        trials = [Trial() for _ in architectures]
        standing = list(range(len(architectures)))
        with progress_bar(self.trainings(len(standing)), 0, self.runtime) as bar:
            for repeat in range(self.settings.repeats):
                found = self._repeat([architectures[i] for i in standing], repeat, bar.update)
                for i, loss in zip(standing, found, strict=True):
                    trials[i].losses.append(loss)
                standing.sort(key=lambda i: trials[i].loss)
                kept = ceil(len(standing) / 2)
                best, standing = standing[0], standing[:kept]
        if not isfinite(trials[best].loss):
            raise Diverged("every trial training of the derivation diverged: lower train.lr")
        return best, trials

    def _repeat(self, architectures: Sequence[Architecture], repeat: int, update: Callable[[int], object]) -> list:
        """Losses of one training of each; this process trains every ``world_size``-th."""
        rank, world_size = self.runtime.rank, self.runtime.world_size
        mine: dict[int, float] = {}
        for start in range(0, len(architectures), world_size):
            self.before_each()
            if start + rank < len(architectures):
                losses = self.losses(architectures[start + rank], repeat)
                mine[start + rank] = sum(losses) / len(losses)
            update(min(world_size, len(architectures) - start))
        shares: list = [mine]
        if world_size > 1:
            shares = [None] * world_size
            dist.all_gather_object(shares, mine)
        losses = {index: loss for share in shares for index, loss in share.items()}
        return [losses[index] for index in range(len(architectures))]

    def losses(self, architecture: Architecture, repeat: int) -> list[float]:
        """Training loss of each of the first steps from scratch, by the ``repeat``-th seed."""
        config, device, settings = self.config, self.runtime.device, self.config.train
        torch.manual_seed(derive_seed(config.seed, "trial weights", repeat))
        network = PoseNetwork(
            architecture.space(config.search.width), self.data.annotations.schema.num_joints,
            config.space.derived_affine, config.kernels, settings.activation_checkpointing,
        )  # fmt: skip
        network.place(device).train()
        optimizer = recipe_optimizer(network, settings, device)
        stream = BatchStream(
            len(self.data), settings.batch_size, derive_seed(config.seed, "trial batches", repeat), 0,
            self.settings.steps,
        )  # fmt: skip
        workers, found = config.data.workers, torch.zeros(self.settings.steps, device=device)
        batches = Loader(training_samples(self.data, config.data, device), stream, workers, device.type == "cuda")
        for step, batch in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, 0, step)
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
