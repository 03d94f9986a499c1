"""The multi-scale module (Fig. 2): two individual cells and an aggregation cell on every active branch."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from autopose import kernels
from autopose.space import SearchSpace

from .cell import Cell, EdgeMixture
from .norm import BatchNorm2d, NormState
from .pieces import Pieces

BranchMixture = dict[str, EdgeMixture]


class Resample(nn.Module):
    """Bring branch ``source`` to the scale and channels of branch ``target`` (§3.1.2).

    Up: 1x1 conv-BN at the source scale, then nearest. Down: a chain of stride-2 3x3 conv-BN with ReLU between, as
    HRNet's fuse layers, or ("avg_pool") average pooling and 1x1 conv-BN.
    """

    def __init__(self, channels, source: int, target: int, downsample: str, affine: bool, state: NormState, choice):
        super().__init__()
        self.choice = choice
        before, after, steps = channels[source], channels[target], target - source
        self.pools_first = steps > 0 and downsample == "avg_pool"
        layers: list[nn.Module] = []
        if steps < 0 or self.pools_first:
            layers += [nn.Conv2d(before, after, 1, bias=False), BatchNorm2d(after, state, affine)]
        else:
            for step in range(steps):
                last = step == steps - 1
                out = after if last else before
                layers += [nn.Conv2d(before, out, 3, 2, 1, bias=False), BatchNorm2d(out, state, affine)]
                layers += [] if last else [nn.ReLU()]
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C_source, h, w) to (N, C_target, *size)."""
        if self.pools_first:
            x = self._to(x, size)
        x = self.convs(x)
        return x if x.shape[-2:] == size else self._to(x, size)

    def _to(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        return kernels.resample_sum([x], None, size, implementation=self.choice.resample_sum)


class ConcatAggregation(nn.Module):
    """Concatenation of all resampled branches and ReLU-1x1 conv-BN instead of C_M (second ablation of Table 4)."""

    def __init__(self, num_inputs: int, channels: int, affine: bool, state: NormState):
        super().__init__()
        self.compress = nn.Conv2d(num_inputs * channels, channels, 1, bias=False)
        self.norm = BatchNorm2d(channels, state, affine)

    def forward(self, inputs: Sequence[Tensor], mixture: EdgeMixture | None = None) -> Tensor:
        """Tensors (N, C, H, W) of all branches to one."""
        return self.norm(self.compress(torch.relu(torch.cat(list(inputs), 1))))


class Branch(nn.Module):
    """The cells of one active branch and the resampling of the others to its scale."""

    def __init__(self, space: SearchSpace, index: int, affine: bool, state: NormState, choice: kernels.KernelChoice):
        super().__init__()
        channels, cells = space.macro.channels, space.branches[index]
        self.index = index
        c = channels[index]
        self.individual_1 = Cell(cells.individual_1, c, affine, state, choice)
        self.individual_2 = Cell(cells.individual_2, c, affine, state, choice)
        self.resample = nn.ModuleDict(
            {
                str(b): Resample(channels, b, index, space.macro.downsample, affine, state, choice)
                for b in range(len(channels))
                if b != index
            }
        )
        if cells.aggregation is None:
            self.aggregation = ConcatAggregation(len(channels), c, affine, state)
        else:
            self.aggregation = Cell(cells.aggregation, c, affine, state, choice)

    def individual(self, features: Sequence[Tensor], mixture: BranchMixture) -> Tensor:
        """C_I2 after C_I1 of this branch's own tensor, the only one of ``features``."""
        middle = self.individual_1(features, mixture.get("individual_1"))
        return self.individual_2([middle], mixture.get("individual_2"))

    def aggregate(self, features: Sequence[Tensor], mixture: BranchMixture) -> Tensor:
        """C_M over all branches' features, resampled to this branch (Eq. 3)."""
        size = tuple(features[self.index].shape[-2:])
        inputs = [x if b == self.index else self.resample[str(b)](x, size) for b, x in enumerate(features)]
        return self.aggregation(inputs, mixture.get("aggregation"))


class MultiScaleModule(nn.Module):
    """Eq. 1: active branches run their cells, the others pass their tensor on, still read by every C_M (Fig. 3).

    Args:
        space: the space of the network.
        built: branches that may ever be active; the others own no parameters.
    """

    def __init__(self, space: SearchSpace, built: Sequence[bool], affine: bool, state: NormState, choice):
        super().__init__()
        self.branches = nn.ModuleDict(
            {str(b): Branch(space, b, affine, state, choice) for b, on in enumerate(built) if on}
        )

    def forward(
        self,
        features: Sequence[Tensor],
        active: Sequence[bool],
        mixtures: Sequence[BranchMixture] | None = None,
        pieces: Pieces | None = None,
    ) -> list[Tensor]:
        """Map a tensor (N, C_b, H / s_b, W / s_b) a branch to the same shapes; by ``pieces``, where given."""
        mixtures = mixtures if mixtures is not None else [{}] * len(features)
        run, on = pieces or _plain, [b for b, each in enumerate(active) if each]
        branches = [cast(Branch, self.branches[str(b)]) for b in on]
        middle, mixed = list(features), [_of(mixtures[b], "individual") for b in on]
        own = [[features[b]] for b in on]
        for b, x in zip(on, run([branch.individual for branch in branches], own, mixed), strict=True):
            middle[b] = x
        passed, mixed = list(middle), [_of(mixtures[b], "aggregation") for b in on]
        for b, x in zip(on, run([branch.aggregate for branch in branches], [middle] * len(on), mixed), strict=True):
            passed[b] = x
        return passed


def _plain(
    parts: Sequence[Callable[..., Tensor]], features: Sequence[Sequence[Tensor]], mixtures: Sequence[BranchMixture]
) -> list[Tensor]:
    return [part(read, mixture) for part, read, mixture in zip(parts, features, mixtures, strict=True)]


def _of(mixture: BranchMixture, part: str) -> BranchMixture:
    """The mixtures of a part's cells."""
    return {name: each for name, each in mixture.items() if name.startswith(part)}
