"""One cell for supernets and derived networks: N images, C channels, E edges, H x W pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autopose import kernels
from autopose.space import OPS, CellSpace

from .norm import BatchNorm2d, NormState

NUM_NORMS = 5


@dataclass(frozen=True)
class EdgeMixture:
    """How the edges of one cell mix their operations (Eq. 4).

    Args:
        weights: (E, 6) mixing weights; gradients flow through them into α.
        chosen: the one operation to evaluate on every edge, None to evaluate all six.
    """

    weights: Tensor
    chosen: tuple[int, ...] | None = None


class Cell(nn.Module):
    """A directed acyclic graph of mixed edges, its nodes concatenated and compressed by ReLU-1x1 conv-BN (§3.1.2).

    Convolution weights are stacked over edges. A cell whose every edge has all six candidates holds
    ``conv1`` (E, C, C, 1, 1), ``conv3`` (E, C, C, 3, 3), ``conv5`` (E, C, C, 5, 5) and statistics (E, 5, C); one whose
    every edge has a single candidate holds only the rows that its operations need, and statistics (E, C).

    Args:
        space: inputs, nodes and candidates.
        channels: C of every input, node and of the output.
        affine: learnable scale and shift in batch normalisation.
        state: shared state of batch normalisation.
        choice: implementations of the kernels.
    """

    def __init__(self, space: CellSpace, channels: int, affine: bool, state: NormState, choice: kernels.KernelChoice):
        super().__init__()
        self.space, self.state, self.choice = space, state, choice
        genotype = space.genotype
        if genotype is None and any(names != OPS for names in space.candidates):
            raise ValueError("every edge of a cell needs either one candidate or all six")
        self.ops = None if genotype is None else genotype.indices
        edges = space.num_edges
        for op, size in enumerate((1, 3, 5)):
            count = edges if self.ops is None else self.ops.count(op)
            weight = nn.Parameter(torch.empty(count, channels, channels, size, size)) if count else None
            self.register_parameter(f"conv{size}", weight)
            for row in () if weight is None else weight:
                nn.init.kaiming_uniform_(row, a=5**0.5)
        shape = (edges, NUM_NORMS, channels) if self.ops is None else (edges, channels)
        self.norm_weight = nn.Parameter(torch.ones(shape)) if affine else None
        self.norm_bias = nn.Parameter(torch.zeros(shape)) if affine else None
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))
        self.compress = nn.Conv2d(space.num_nodes * channels, channels, 1, bias=False)
        self.compress_norm = BatchNorm2d(channels, state, affine)

    def forward(self, inputs: Sequence[Tensor], mixture: EdgeMixture | None = None) -> Tensor:
        """Map ``num_inputs`` tensors (N, C, H, W) to one; ``mixture`` is needed where edges have a choice."""
        if self.ops is None and mixture is None:
            raise ValueError("a cell of the supernet needs the mixing weights of its edges")
        if self.ops is not None:
            nodes = self._single(inputs, self.ops, (self.conv1, self.conv3, self.conv5), None, self._norm())
        elif mixture.chosen is None:
            nodes = kernels.mixed_edges(
                inputs, self.space.num_nodes, self.conv1, self.conv3, self.conv5, mixture.weights,
                implementation=self.choice.mixed_edge, **self._norm(), **self._norm_options(),
            )  # fmt: skip
        else:
            nodes = self._one_hot(inputs, mixture)
        return self.compress_norm(self.compress(torch.relu(torch.cat(nodes, 1))))

    def rows(self, ops: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Edges whose operation is each of the three convolutions."""
        return tuple(tuple(e for e, op in enumerate(ops) if op == kind) for kind in range(3))

    def _one_hot(self, inputs: Sequence[Tensor], mixture: EdgeMixture) -> list[Tensor]:
        ops = mixture.chosen
        normed = [edge for edge, op in enumerate(ops) if op < NUM_NORMS]
        norms = [min(op, NUM_NORMS - 1) for op in ops]
        lists = (*self.rows(ops), range(len(ops)), ops, norms, normed)
        *rows, edges, picked, norms, normed = _indices(lists, mixture.weights.device)
        convs = [w[r] if len(r) else None for w, r in zip((self.conv1, self.conv3, self.conv5), rows, strict=True)]
        norm = {name: None if t is None else t[edges, norms] for name, t in self._norm().items()}
        mix = mixture.weights.gather(1, picked[:, None])[:, 0]
        nodes = self._single(inputs, ops, convs, mix, norm)
        if self.state.updates:
            with torch.no_grad():
                for name in ("running_mean", "running_var"):
                    getattr(self, name)[normed, norms[normed]] = norm[name][normed]
        return nodes

    def _single(self, inputs, ops, convs, mix, norm) -> list[Tensor]:
        return kernels.single_edges(
            inputs, self.space.num_nodes, ops, *convs, mix,
            implementation=self.choice.single_edge, **norm, **self._norm_options(),
        )  # fmt: skip

    def _norm(self) -> dict[str, Tensor | None]:
        tracked = self.state.updates or not self.state.training
        return {
            "norm_weight": self.norm_weight,
            "norm_bias": self.norm_bias,
            "running_mean": self.running_mean if tracked else None,
            "running_var": self.running_var if tracked else None,
        }

    def _norm_options(self) -> dict:
        state = self.state
        return {"training": state.training, "momentum": state.momentum, "process_group": state.process_group}


def _indices(lists: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, ...]:
    """Lists as index tensors, by one copy to the device that the host does not wait for."""
    flat = torch.tensor([i for part in lists for i in part], pin_memory=device.type == "cuda")
    return flat.to(device, non_blocking=True).split([len(part) for part in lists])
