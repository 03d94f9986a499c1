"""``PoseNetwork``: stem, multi-scale modules, head (Fig. 1, §4.2). N images of height H and width W, K joints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from autopose import kernels
from autopose.space import MacroArchitecture, SearchSpace

from .cell import Cell
from .module import BranchMixture, MultiScaleModule
from .norm import NORM_STATES, NormState
from .pieces import Pieces
from .stem_head import Head, Stem

if TYPE_CHECKING:
    from .backbone import Backbone
    from .inference import InferenceNetwork


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
        self._parts: dict[tuple[int, int] | None, list[nn.Parameter]] = {}

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
        rows, decision_of = self._beta(beta).rows, self.space.macro.decision_of
        parts = self._parameters_of_parts().items()
        return [p for part, found in parts if part is None or rows[decision_of(part[0])][part[1]] for p in found]

    def requires_grad_(self, requires_grad: bool = True) -> "PoseNetwork":
        """Whether parameters get gradients."""
        for parameters in self._parameters_of_parts().values():
            for parameter in parameters:
                parameter.requires_grad_(requires_grad)
        return self

    def _parameters_of_parts(self) -> dict[tuple[int, int] | None, list[nn.Parameter]]:
        """By module and branch, None for stem and head; kept, since a walk over modules takes its time."""
        if not self._parts:
            self._parts = {None: [*self.stem.parameters(), *self.head.parameters()]}
            for m, module in enumerate(self.modules_):
                self._parts |= {(m, int(b)): list(branch.parameters()) for b, branch in module.branches.items()}
        return self._parts

    def _apply(self, fn, recurse: bool = True) -> "PoseNetwork":
        self._parts = {}  # parameters may be others on another device
        return super()._apply(fn, recurse)

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
