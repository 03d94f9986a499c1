"""Cells of random tensors and a counter of launches, for the kernels' tests."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from autopose.kernels._aten import mixed_edge as aten_mixed_edge
from autopose.kernels.topology import CONV_SIZES, NUM_NORMED, NUM_OPS, Topology

ALLOCATIONS = {"empty", "empty_like", "new_empty", "empty_strided", "empty_permuted", "detach", "lift_fresh"}
PLAIN = {
    "autopose::aten_mixed_cell": aten_mixed_edge.cell_forward,
    "autopose::aten_mixed_cell_backward": aten_mixed_edge.cell_backward,
}
"""Registered operators whose inner calls are counted one by one."""


@dataclass
class CellCase:
    """Arguments of a cell's operator: S inputs of (N, C, H, W) and ``num_nodes`` nodes."""

    shape: tuple[int, int, int, int]
    num_inputs: int = 1
    num_nodes: int = 1
    dtype: torch.dtype = torch.float64
    affine: bool = False
    format: str = "contiguous"
    seed: int = 0
    inputs: list[Tensor] = field(init=False)

    def __post_init__(self):
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*sizes):
            return torch.randn(*sizes, generator=generator, dtype=torch.float64)

        channels = self.shape[1]
        states = [normal(*self.shape) for _ in range(self.num_inputs)]
        if self.format == "channels_last":
            states = [x.contiguous(memory_format=torch.channels_last) for x in states]
        elif self.format == "strided":
            states = [torch.stack([x, x], -1)[..., 0] for x in states]
        self.inputs = [x.to(self.dtype).requires_grad_() for x in states]
        convs = [normal(self.edges, channels, channels, k, k) / (k * channels**0.5) for k in CONV_SIZES]
        self.convs = [w.to(self.dtype).requires_grad_() for w in convs]
        self.mix = (normal(self.edges, NUM_OPS).sigmoid()).to(self.dtype).requires_grad_()
        self.norm = {}
        if self.affine:
            for name in ("norm_weight", "norm_bias"):
                table = 0.5 + normal(self.edges, NUM_NORMED, channels).sigmoid()
                self.norm[name] = table.to(self.dtype).requires_grad_()
        self.running = [
            normal(self.edges, NUM_NORMED, channels),
            0.5 + normal(self.edges, NUM_NORMED, channels).sigmoid(),
        ]
        self.grads = [normal(*self.shape).to(self.dtype) for _ in range(self.num_nodes)]

    @property
    def edges(self) -> int:
        return Topology(self.num_inputs, self.num_nodes).edges

    @property
    def leaves(self) -> list[Tensor]:
        return [*self.inputs, *self.convs, self.mix, *self.norm.values()]

    def to(self, device=None, dtype=None) -> "CellCase":
        """The same case elsewhere or in another dtype."""
        other = CellCase.__new__(CellCase)
        other.__dict__.update(self.__dict__)

        def move(t):
            return t.detach().to(device=device, dtype=dtype).requires_grad_(t.requires_grad)

        other.inputs, other.convs = [move(x) for x in self.inputs], [move(w) for w in self.convs]
        other.mix, other.norm = move(self.mix), {name: move(t) for name, t in self.norm.items()}
        other.running, other.grads = [move(t) for t in self.running], [move(g) for g in self.grads]
        return other


class LaunchCounter(TorchDispatchMode):
    """Counts ATen calls that launch a kernel (no views, no allocations), also inside the registered operators."""

    def __init__(self):
        super().__init__()
        self.calls: dict[str, int] = {}

    @property
    def total(self) -> int:
        return sum(self.calls.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name
        if name in PLAIN:
            with self:
                return PLAIN[name](*args, **kwargs)
        short = name.split("::")[1]
        if not func.is_view and short not in ALLOCATIONS:
            self.calls[short] = self.calls.get(short, 0) + 1
        return func(*args, **kwargs)


class WideTensors(LaunchCounter):
    """Counts ATen calls that make a float32 or float64 tensor of at least ``numel`` elements."""

    def __init__(self, numel: int):
        super().__init__()
        self.numel, self.wide = numel, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = super().__torch_dispatch__(func, types, args, kwargs)
        for t in out if isinstance(out, list | tuple) else [out]:
            if isinstance(t, Tensor) and t.dtype in (torch.float32, torch.float64) and t.numel() >= self.numel:
                name = func._schema.name
                if name not in PLAIN:
                    self.wide[name] = self.wide.get(name, 0) + 1
        return out
