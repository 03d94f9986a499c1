"""Batches without state: what batch a step sees depends on the seed and the step, never on workers or ranks."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from autopose.data.dataset import PoseDataset, SampleKey, as_input
from autopose.data.device_crops import UncutDataset, collate, cut
from autopose.errors import UserError


class BatchStream:
    """Batch sampler over seeded permutations laid end to end.

    Position p of the endless sequence is place p mod N of epoch p div N's permutation; global batch t takes positions
    [t * B, (t + 1) * B) and every rank a contiguous share of them. Resuming needs the step number only.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        first_step: int,
        num_steps: int,
        rank: int = 0,
        world_size: int = 1,
    ):
        """
        Args:
            num_samples: N, of the dataset.
            batch_size: B, of all ranks together.
            seed: not negative.
            first_step: global step of the first batch.
            num_steps: how many batches to give.
            rank, world_size: which share of each batch.

        Raises:
            UserError: no samples, a negative seed, or a batch that the ranks cannot share equally.
        """
        if num_samples < 1:
            raise UserError("the training set is empty: there is no sample to draw batches from")
        if batch_size < 1 or batch_size % world_size:
            raise UserError(f"the batch size {batch_size} must be positive and divide by the {world_size} processes")
        if seed < 0:
            raise UserError(f"the seed must not be negative, got {seed}")
        if first_step < 0 or num_steps < 0 or not 0 <= rank < world_size:
            raise ValueError(f"bad stream: first_step {first_step}, num_steps {num_steps}, rank {rank}/{world_size}")
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.first_step, self.num_steps = first_step, num_steps
        self.rank, self.world_size = rank, world_size
        self._permutation: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in range(self.first_step, self.first_step + self.num_steps):
            yield self.batch(step)

    def batch(self, step: int) -> list[SampleKey]:
        """This rank's keys (index, (seed, position)) of the batch of global step `step`."""
        share = self.batch_size // self.world_size
        start = step * self.batch_size + self.rank * share
        return [(self._sample(position), (self.seed, position)) for position in range(start, start + share)]

    def _sample(self, position: int) -> int:
        epoch, place = divmod(position, self.num_samples)
        if self._permutation[0] != epoch:
            self._permutation = (epoch, np.random.default_rng((self.seed, epoch)).permutation(self.num_samples))
        return int(self._permutation[1][place])


class Loader:
    """Batches of a dataset, loaded here or by worker processes, whose failures are one sentence each."""

    def __init__(
        self,
        dataset: PoseDataset | UncutDataset,
        batches: Iterable[list[SampleKey]],
        workers: int = 0,
        pin_memory: bool = False,
    ):
        """
        Args:
            dataset: gives the samples.
            batches: lists of keys, a `BatchStream` for instance.
            workers: processes; 0 loads in this one.
            pin_memory: for copies to a GPU.
        """
        # The generator leaves torch's global random state alone.
        self._loader = DataLoader(
            _Answering(dataset), batch_sampler=batches, num_workers=workers, pin_memory=pin_memory,
            worker_init_fn=_start_worker, generator=torch.Generator(), collate_fn=_collate,
        )  # fmt: skip

    def __iter__(self) -> Iterator[dict]:
        """Raises:
        UserError: of a sample, also where a worker met it.
        LoaderFailed: a worker died, or the system has no shared memory or file descriptors left.
        """
        try:
            for batch in self._loader:
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except (RuntimeError, OSError) as error:
            remedy = next((remedy for sign, remedy in _REMEDIES if sign in str(error)), None)
            if remedy is None:
                raise
            raise LoaderFailed(
                f"the loader of pictures failed ({str(error).splitlines()[0][:120]}): {remedy}"
            ) from None


class LoaderFailed(UserError):
    """Loading stopped for a reason that lies in the system; the state of the run is whole."""


_SHARED_MEMORY = "give the container more shared memory (docker run --shm-size=2g), or set data.workers=0"
_KILLED = "a worker was killed, often for want of memory: use fewer data.workers or data.cache=false"
# What the messages of PyTorch and of the system contain, and what helps.
_REMEDIES = (
    ("shared memory", _SHARED_MEMORY),
    ("Bus error", _SHARED_MEMORY),
    ("No space left on device", _SHARED_MEMORY),
    ("Too many open files", "raise the limit of open files (ulimit -n 65536), or set data.workers=0"),
    ("is killed by signal", _KILLED),
    ("exited unexpectedly", _KILLED),
    ("Cannot allocate memory", "there is not enough memory for the workers: use fewer data.workers"),
)


class _Answering:
    """A dataset that gives a user's mistake as an answer: raised in a worker, it would arrive as a traceback."""

    def __init__(self, dataset: PoseDataset | UncutDataset):
        self.dataset = dataset

    def __getitem__(self, key: SampleKey) -> dict | UserError:
        try:
            return self.dataset[key]
        except UserError as error:
            return error


def _collate(samples: list[dict | UserError]) -> dict | UserError:
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    return collate(samples) if "pixels" in samples[0] else default_collate(samples)


def evaluation_loader(
    dataset: PoseDataset,
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Loader:
    """Loader of every sample once, in order, without augmentation; ranks take consecutive shares of the samples."""
    share = np.array_split(np.arange(len(dataset)), world_size)[rank]
    keys = [(int(index), None) for index in share]
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    return Loader(dataset, batches, workers, pin_memory)


def _start_worker(_: int) -> None:
    # OpenCV's own threads do not survive a fork, and one worker is one core.
    cv2.setNumThreads(0)


def place(batch: dict, device: torch.device) -> dict[str, Tensor]:
    """What a step reads of a batch of samples, on the device: images as the network reads them, targets, weights."""
    if "pixels" in batch:
        found = cut(batch, device)
    else:
        found = {name: batch[name].to(device, non_blocking=True) for name in ("image", "target", "target_weight")}
    return {**found, "image": as_input(found["image"])}
