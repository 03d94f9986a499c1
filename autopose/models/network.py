"""``PoseNetwork``: stem, multi-scale modules, head (Fig. 1, §4.2). N images of height H and width W, K joints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from autopose import kernels
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace

from .cell import Cell
from .module import BranchMixture, MultiScaleModule
from .norm import NORM_STATES, BatchNorm2d, NormState
from .pieces import Pieces

if TYPE_CHECKING:
    from .backbone import Backbone
    from .inference import InferenceNetwork


def _conv_bn_relu(before: int, after: int, stride: int, state: NormState, size: int = 3) -> nn.Sequential:
    conv = nn.Conv2d(before, after, size, stride, size // 2, bias=False)
    return nn.Sequential(conv, BatchNorm2d(after, state), nn.ReLU())


class Bottleneck(nn.Module):
    """Residual bottleneck: 1x1, 3x3, 1x1 with a projection where the channels differ."""

    def __init__(self, before: int, after: int, state: NormState):
        super().__init__()
        middle = max(before // 4, 1)
        self.body = nn.Sequential(
            _conv_bn_relu(before, middle, 1, state, 1),
            _conv_bn_relu(middle, middle, 1, state),
            nn.Conv2d(middle, after, 1, bias=False),
            BatchNorm2d(after, state),
        )
        same = before == after
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(nn.Conv2d(before, after, 1, bias=False), BatchNorm2d(after, state))
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Stem(nn.Module):
    """Two stride-2 3x3 convolutions and a bottleneck to scale 4; a stride-2 3x3 convolution for each further scale."""

    def __init__(self, macro: MacroSpace, state: NormState):
        super().__init__()
        c, stem = macro.channels, macro.stem_channels
        self.first = nn.Sequential(
            _conv_bn_relu(3, stem, 2, state), _conv_bn_relu(stem, stem, 2, state), Bottleneck(stem, c[0], state)
        )
        self.further = nn.ModuleList(_conv_bn_relu(c[b], c[b + 1], 2, state) for b in range(len(c) - 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to one tensor (N, C_b, H / s_b, W / s_b) a branch."""
        features = [self.first(images)]
        for down in self.further:
            features.append(down(features[-1]))
        return features


class Head(nn.Module):
    """All branches upsampled to scale 4 by nearest, concatenated (§4.2) or summed (§3), then a 3x3 convolution."""

    def __init__(self, macro: MacroSpace, num_joints: int, state: NormState, choice: kernels.KernelChoice):
        super().__init__()
        self.choice = choice
        c = macro.channels
        if macro.head == "sum":
            self.project = nn.ModuleList(
                nn.Sequential(nn.Conv2d(channels, c[0], 1, bias=False), BatchNorm2d(c[0], state)) for channels in c
            )
            self.weights = nn.Parameter(torch.ones(len(c)))
        else:
            self.project = None
        self.predict = nn.Conv2d(c[0] if macro.head == "sum" else sum(c), num_joints, 3, 1, 1)
        nn.init.normal_(self.predict.weight, std=0.001)
        nn.init.zeros_(self.predict.bias)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4)."""
        size = tuple(features[0].shape[-2:])
        if self.project is not None:
            projected = [project(x) for project, x in zip(self.project, features, strict=True)]
            weights = self.weights.to(projected[0].dtype)
            return self.predict(kernels.resample_sum(projected, weights, size, implementation=self.choice.resample_sum))
        upsampled = [features[0]] + [F.interpolate(x, size=size, mode="nearest") for x in features[1:]]
        return self.predict(torch.cat(upsampled, 1))


class PoseNetwork(nn.Module):
    """A supernet, or a derived network where ``space`` leaves no choice.

    Args:
        space: the search space; its ``beta``, where given, is fixed and branches that it leaves off build no cells.
        num_joints: K.
        affine: scale and shift of batch normalisation inside modules (DARTS: off in the supernet, on when derived);
            None takes that convention. Stem and head always have them.
        choice: implementation of each kernel.
        activation_checkpointing: recompute each multi-scale module in the backward pass.
    """

    def __init__(
        self,
        space: SearchSpace,
        num_joints: int,
        affine: bool | None = None,
        choice: kernels.KernelChoice | None = None,
        activation_checkpointing: bool = False,
    ):
        super().__init__()
        choice = choice or kernels.KernelChoice()
        self.space, self.choice, self.num_joints = space, choice, num_joints
        self.is_supernet = space.beta is None or any(
            cell.genotype is None for b in space.branches for cell in b.cells().values()
        )
        affine = not self.is_supernet if affine is None else affine
        self.activation_checkpointing = activation_checkpointing
        self.state = NormState()
        macro = space.macro
        rows = macro.all_on().rows if space.beta is None else space.beta.rows
        self.stem = Stem(macro, self.state)
        self.modules_ = nn.ModuleList(
            MultiScaleModule(space, rows[macro.decision_of(m)], affine, self.state, choice)
            for m in range(macro.num_modules)
        )
        self.head = Head(macro, num_joints, self.state, choice)

    def place(self, device: torch.device) -> "PoseNetwork":
        """Move to ``device`` with channels_last convolutions (stacked weights of cells have no such format)."""
        self.to(device)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        return self

    @property
    def foldable(self) -> bool:
        """Whether there is a form for inference: no operation is open, and none comes from another package."""
        cells = (module for module in self.modules() if isinstance(module, Cell))
        return not self.is_supernet and not any(cell.foreign for cell in cells)

    def for_inference(self, device: torch.device | None = None) -> "InferenceNetwork":
        """A copy for inference alone: the same heatmaps to float32 rounding, normalisation folded, channels_last.

        It is made of library operations alone, whatever ``choice`` says, so it can be traced, compiled and exported.

        Args:
            device: where it goes; None: where the network is.

        Raises:
            ValueError: a network that is not ``foldable``.
        """
        from .inference import InferenceNetwork

        if not self.foldable:
            raise ValueError("only derived networks of built-in operations have a form for inference")

        device = device or self.head.predict.weight.device
        return InferenceNetwork(self).to(device=device, memory_format=torch.channels_last)

    def backbone(self) -> "Backbone":
        """The feature maps by scale, without the head; see ``Backbone``."""
        from .backbone import Backbone

        return Backbone(self)

    def set_norm(self, mode: str) -> None:
        """Choose "track", "batch" or "running" statistics for every normalisation (see ``models.norm``)."""
        if mode not in NORM_STATES:
            raise ValueError(f"batch normalisation mode must be one of {', '.join(NORM_STATES)}, but is {mode!r}")
        self.state.mode = mode

    def train(self, mode: bool = True) -> "PoseNetwork":
        """Training uses batch statistics and tracks them (a supernet's are not tracked), evaluation running ones."""
        super().train(mode)
        self.set_norm(("batch" if self.is_supernet else "track") if mode else "running")
        return self

    def describe(self) -> list[str]:
        """How cells run that are not of the six built-in operations alone, a line a kind; none where all are."""
        found = {}
        for name, cell in self.named_modules():
            if isinstance(cell, Cell) and (cell.foreign or (cell.has_choice and not cell.is_full)):
                found.setdefault(cell.execution(), set()).add(name.rpartition(".")[2])
        return [f"{', '.join(sorted(names))}: {how}" for how, names in found.items()]

    def active_parameters(self, beta: MacroArchitecture | None = None) -> list[nn.Parameter]:
        """The parameters that take part in a step under β: the same list, in the same order, on every process."""
        beta = self._beta(beta)
        found = [*self.stem.parameters(), *self.head.parameters()]
        for m, module in enumerate(self.modules_):
            for b, on in enumerate(beta.rows[self.space.macro.decision_of(m)]):
                if on:
                    found += module.branches[str(b)].parameters()
        return found

    def forward(
        self,
        images: Tensor,
        beta: MacroArchitecture | None = None,
        mixtures: Sequence[BranchMixture] | None = None,
        pieces: Pieces | None = None,
    ) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4) of images (N, 3, H, W).

        Args:
            images: height and width must be multiples of the coarsest scale.
            beta: branches that are active (Eq. 1); needed unless the space fixes it.
            mixtures: per branch, the mixture of every cell's edges; needed by a supernet.
            pieces: what runs the parts of branches from static buffers; not with activation checkpointing.
        """
        return self.head(self.features(images, beta, mixtures, pieces))

    def features(
        self,
        images: Tensor,
        beta: MacroArchitecture | None = None,
        mixtures: Sequence[BranchMixture] | None = None,
        pieces: Pieces | None = None,
    ) -> list[Tensor]:
        """What the head sees, a tensor (N, C_b, H / s_b, W / s_b) a branch; arguments as ``forward``'s."""
        macro, beta = self.space.macro, self._beta(beta)
        features = self.stem_features(images)
        for m, module in enumerate(self.modules_):
            active = beta.rows[macro.decision_of(m)]
            if self.activation_checkpointing and torch.is_grad_enabled() and any(active):
                features = self._checkpointed(module, features, active, mixtures)
            else:
                features = module(features, active, mixtures, pieces)
        return features

    def stem_features(self, images: Tensor) -> list[Tensor]:
        """What the first module reads: the stem's tensor for every branch."""
        self.space.macro.check_image_size((images.shape[-1], images.shape[-2]))
        return self.stem(images)

    def _beta(self, beta: MacroArchitecture | None) -> MacroArchitecture:
        beta = beta if beta is not None else self.space.beta
        if beta is None:
            raise ValueError("this network leaves beta open: give the active branches of every stage")
        return beta

    def _checkpointed(self, module, features, active, mixtures) -> list[Tensor]:
        """Run a module whose activations are recomputed; the second run must not move running statistics again."""
        ran = False

        def run(*tensors: Tensor) -> tuple[Tensor, ...]:
            nonlocal ran
            momentum = self.state.momentum
            self.state.momentum = 0.0 if ran else momentum
            ran = True
            try:
                return tuple(module(tensors, active, mixtures))
            finally:
                self.state.momentum = momentum

        return list(checkpoint(run, *features, use_reentrant=False, preserve_rng_state=False))
