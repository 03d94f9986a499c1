"""The people that rewards are taken on: cropped once, and kept where the network reads them.

N people, K joints, H and W the input's sides, h and w the heatmap's.
"""

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from autopose.data.dataset import PoseDataset, as_input
from autopose.data.heatmap import back_matrices
from autopose.data.stream import Loader

logger = logging.getLogger("autopose")
GIB = 2**30
HEATMAP = ("target", "target_weight")


class RewardSubset:
    """Samples of a whole dataset, decoded once; whole batches are dealt to the processes in turn.

    Pictures are uint8, 3 bytes a pixel: 0.14 GiB for 1,000 people of 192x256. They stay on the device
    where they take no more than ``resident_gib`` of its memory, else in this process's, from which every batch is
    copied. Targets, of which only losses have a use, stay in this process's.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        batch_size: int,
        device: torch.device,
        resident_gib: float,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
    ):
        """
        Args:
            dataset: without augmentation.
            batch_size: about how many people are scored at once; the batches are of near-equal sizes.
            device: of the network.
            resident_gib: the most that pictures may take of the device's memory, in GiB.
            rank, world_size: this process among those that share the batches.
            workers: loader processes that decode.

        Raises:
            UserError: a picture is missing or corrupt.
        """
        self.dataset, self.device = dataset, device
        self.rank, self.world_size = rank, world_size
        self.parts = max(1, round(len(dataset) / batch_size))
        width, height = dataset.size_wh
        size = 3 * len(dataset) * height * width
        resident = device.type == "cpu" or size <= resident_gib * GIB
        where = device if resident else torch.device("cpu")
        self.images = torch.empty(
            (len(dataset), height, width, 3), dtype=torch.uint8, device=where,
            pin_memory=not resident and device.type == "cuda",
        )  # fmt: skip
        rows = []
        for n, sample in enumerate(Loader(dataset, [[(i, None)] for i in range(len(dataset))], workers)):
            self.images[n] = sample["image"][0]
            rows.append({name: sample[name][0] for name in (*HEATMAP, "center", "scale")})
        self.targets = {name: torch.stack([row[name] for row in rows]) for name in HEATMAP}
        centers, scales = (np.stack([row[name].numpy() for row in rows]) for name in ("center", "scale"))
        self.back = back_matrices(centers, scales, dataset.heatmap_wh, dataset.udp)
        if not resident:
            logger.info(
                "reward     %d pictures of %.2f GiB stay off the device: search.reward.resident_gib=%g is all they "
                "may take there", len(dataset), size / GIB, resident_gib,
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.dataset)

    def share(self, shuffle: int | None = None) -> Iterator[tuple[np.ndarray, Tensor]]:
        """This process's batches: the people's positions (n,) and their images (n, 3, H, W) on the device.

        Args:
            shuffle: compose the batches anew by this seed.
        """
        count = len(self)
        order = np.arange(count) if shuffle is None else np.random.default_rng(shuffle).permutation(count)
        for part in np.array_split(order, self.parts)[self.rank :: self.world_size]:
            images = self.images[part[0] : part[-1] + 1] if shuffle is None else self.images[torch.from_numpy(part)]
            yield part, as_input(images.to(self.device, non_blocking=True))

    def target(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Targets (n, K, h, w) and their weights (n, K) of people, on the device."""
        rows = torch.from_numpy(index)
        return tuple(self.targets[name][rows].to(self.device) for name in HEATMAP)
