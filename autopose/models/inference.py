"""A derived network for inference alone: the same function in fewer steps. N images, C channels, H x W pixels.

Batch normalisation with running statistics is affine, so it is folded into the convolution before it. The convolutions
of one kind that end in one node are one convolution over their concatenated sources, whose sum over input channels is
the node's sum over edges (Eq. 2). What is left are library operations alone, which every exporter and compiler knows.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopose.space import OPS

from .cell import Cell
from .module import Branch, ConcatAggregation, MultiScaleModule, Resample
from .network import PoseNetwork
from .stem_head import Bottleneck, Head, Stem

AVERAGE, MAXIMUM, IDENTITY = (OPS.index(name) for name in ("avg_pool_3x3", "max_pool_3x3", "skip_connect"))


def _affine(mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) in float64 of a normalisation by running statistics."""
    scale = torch.rsqrt(_wide(var) + eps) * (1.0 if weight is None else _wide(weight))
    return scale, (0.0 if bias is None else _wide(bias)) - _wide(mean) * scale


def _wide(x: Tensor) -> Tensor:
    """A copy in float64 on the CPU: not every device has float64."""
    return x.detach().cpu().double()


def _convolution(weight: Tensor, bias: Tensor, stride: int = 1) -> nn.Conv2d:
    """The convolution with weight (C_out, C_in, k, k) and bias (C_out,), "same" padding."""
    out, channels, size, _ = weight.shape
    conv = nn.Conv2d(channels, out, size, stride, size // 2)
    with torch.no_grad():
        conv.weight.copy_(weight)
        conv.bias.copy_(bias)
    return conv


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    scale, shift = _affine(norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.eps)
    return _convolution(_wide(conv.weight) * scale[:, None, None, None], shift, conv.stride[0])


def _fold_chain(layers: nn.Sequential) -> nn.Sequential:
    """Convolution and normalisation pairs as one convolution each; every other layer is folded by its kind."""
    found, queue = [], list(layers)
    while queue:
        layer = queue.pop(0)
        if isinstance(layer, nn.Conv2d):
            found.append(_folded(layer, queue.pop(0)))
        elif isinstance(layer, nn.ReLU):
            found.append(nn.ReLU(inplace=True))
        elif isinstance(layer, nn.Sequential):
            found.append(_fold_chain(layer))
        elif isinstance(layer, Bottleneck):
            found.append(InferenceBottleneck(layer))
        else:
            found.append(layer)
    return nn.Sequential(*found)


class InferenceBottleneck(nn.Module):
    """``Bottleneck`` with folded normalisation."""

    def __init__(self, block: Bottleneck):
        super().__init__()
        self.body = _fold_chain(block.body)
        self.shortcut = block.shortcut if isinstance(block.shortcut, nn.Identity) else _fold_chain(block.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H, W)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class Sources:
    """The states that a cell's nodes read, with what several nodes take from one: its ReLU and its pools."""

    def __init__(self, states: Sequence[Tensor]):
        self.states, self._made = list(states), {}

    def get(self, kind: str, index: int) -> Tensor:
        """State ``index`` after "relu", "average" or "maximum"; made once."""
        key, x = (kind, index), self.states[index]
        if key not in self._made:
            if kind == "relu":
                self._made[key] = torch.relu(x)
            elif kind == "average":
                self._made[key] = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
            else:
                self._made[key] = F.max_pool2d(x, 3, 1, 1)
        return self._made[key]


class InferenceNode(nn.Module):
    """One node (Eq. 2): a convolution a kernel size, scaled pools, identities.

    Args:
        edges: (operation, source, weight (C, C, k, k) or None, scale (C,), shift (C,)) of every incoming edge, float64.
    """

    def __init__(self, edges: Sequence[tuple[int, int, Tensor | None, Tensor, Tensor]]):
        super().__init__()
        shift = sum(edge[4] for edge in edges)
        self.conv_sources: list[list[int]] = []
        convs = []
        for op in range(AVERAGE):
            mine = [edge for edge in edges if edge[0] == op]
            if mine:
                weight = torch.cat([weight * scale[:, None, None, None] for _, _, weight, scale, _ in mine], 1)
                convs.append(_convolution(weight, torch.zeros_like(shift) if convs else shift))
                self.conv_sources.append([source for _, source, *_ in mine])
        self.convs = nn.ModuleList(convs)
        pools = [edge for edge in edges if edge[0] in (AVERAGE, MAXIMUM)]
        self.pool_sources = [("average" if op == AVERAGE else "maximum", source) for op, source, *_ in pools]
        self.identities = [source for op, source, *_ in edges if op == IDENTITY]
        rows = torch.stack([scale for *_, scale, _ in pools]) if pools else shift.new_zeros(0, len(shift))
        self.register_buffer("scales", rows.float()[:, :, None, None])
        # With a convolution the node's shift is its bias.
        self.register_buffer("shift", None if convs or not pools else shift.float()[None, :, None, None])

    def forward(self, sources: Sources) -> Tensor:
        """(N, C, H, W) from the cell's earlier states."""
        total = self.shift
        for conv, wanted in zip(self.convs, self.conv_sources, strict=True):
            parts = [sources.get("relu", index) for index in wanted]
            y = conv(parts[0] if len(parts) == 1 else torch.cat(parts, 1))
            total = y if total is None else total + y
        for row, (kind, index) in enumerate(self.pool_sources):
            y = sources.get(kind, index)
            total = y * self.scales[row] if total is None else torch.addcmul(total, y, self.scales[row])
        for index in self.identities:
            x = sources.states[index]
            total = x if total is None else total + x
        return total


class InferenceCell(nn.Module):
    """``Cell`` of a derived network with folded normalisation."""

    def __init__(self, cell: Cell):
        super().__init__()
        norm = cell.compress_norm
        tables = [cell.running_mean, cell.running_var, cell.norm_weight, cell.norm_bias]
        taken, edges = [0, 0, 0], [[] for _ in range(cell.space.num_nodes)]
        ops = [op for _, op in cell.rows]
        for edge, (node, source) in enumerate(cell.space.edges()):
            op, weight = ops[edge], None
            scale, shift = _affine(*(None if t is None else t[edge] for t in tables), norm.eps)  # type: ignore[call-arg]
            if op < AVERAGE:
                weight = _wide((cell.conv1, cell.conv3, cell.conv5)[op][taken[op]])
                taken[op] += 1
            if op == IDENTITY:
                scale, shift = torch.ones_like(scale), torch.zeros_like(shift)
            edges[node].append((op, source, weight, scale, shift))
        self.num_inputs = cell.space.num_inputs
        self.nodes = nn.ModuleList(InferenceNode(mine) for mine in edges)
        self.compress = _folded(cell.compress, norm)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Map ``num_inputs`` tensors (N, C, H, W) to one."""
        sources = Sources(inputs)
        for node in self.nodes:
            sources.states.append(node(sources))
        nodes = [sources.get("relu", self.num_inputs + n) for n in range(len(self.nodes))]
        return self.compress(nodes[0] if len(nodes) == 1 else torch.cat(nodes, 1))


class InferenceConcat(nn.Module):
    """``ConcatAggregation`` with folded normalisation."""

    def __init__(self, aggregation: ConcatAggregation):
        super().__init__()
        self.compress = _folded(aggregation.compress, aggregation.norm)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Tensors (N, C, H, W) of all branches to one."""
        return self.compress(torch.relu(torch.cat(list(inputs), 1)))


class InferenceResample(nn.Module):
    """``Resample`` with folded normalisation; ``factor`` above 1 enlarges after the convolutions, below 0 pools before.

    Scales of branches are powers of two apart, so the factor is fixed.
    """

    def __init__(self, resample: Resample, source: int, target: int):
        super().__init__()
        self.enlarge = 2 ** max(source - target, 0)
        self.pool = 2 ** max(target - source, 0) if resample.pools_first else 1
        self.convs = _fold_chain(resample.convs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to the target branch's channels and size."""
        x = self.convs(F.avg_pool2d(x, self.pool) if self.pool > 1 else x)
        return F.interpolate(x, scale_factor=float(self.enlarge), mode="nearest") if self.enlarge > 1 else x


class InferenceBranch(nn.Module):
    """``Branch`` with folded normalisation."""

    def __init__(self, branch: Branch, index: int):
        super().__init__()
        self.index = index
        self.individual = nn.Sequential(InferenceCell(branch.individual_1), InferenceCell(branch.individual_2))
        self.resample = nn.ModuleDict(
            {b: InferenceResample(layer, int(b), index) for b, layer in branch.resample.items()}
        )
        concatenates = isinstance(branch.aggregation, ConcatAggregation)
        self.aggregation = (InferenceConcat if concatenates else InferenceCell)(branch.aggregation)

    def aggregate(self, features: Sequence[Tensor]) -> Tensor:
        """C_M over all branches' features (Eq. 3)."""
        return self.aggregation([x if b == self.index else self.resample[str(b)](x) for b, x in enumerate(features)])


class InferenceModule(nn.Module):
    """``MultiScaleModule`` with folded normalisation."""

    def __init__(self, module: MultiScaleModule):
        super().__init__()
        self.branches = nn.ModuleDict({b: InferenceBranch(branch, int(b)) for b, branch in module.branches.items()})

    def forward(self, features: list[Tensor], active: Sequence[bool] | None = None, mixtures=None) -> list[Tensor]:
        """Eq. 1; ``active`` as ``MultiScaleModule.forward`` takes it, all that were built without it."""
        running = {int(b): branch for b, branch in self.branches.items() if active is None or active[int(b)]}
        middle = list(features)
        for b, branch in running.items():
            first, second = branch.individual
            middle[b] = second([first([features[b]])])
        found = list(middle)
        for b, branch in running.items():
            found[b] = branch.aggregate(middle)
        return found


class InferenceHead(nn.Module):
    """``Head`` with folded normalisation; the weights of a summing head are folded too."""

    def __init__(self, head: Head):
        super().__init__()
        self.predict = _convolution(head.predict.weight, head.predict.bias)
        self.project = None
        if head.project is not None:
            self.project = nn.ModuleList(_fold_chain(layers)[0] for layers in head.project)
            with torch.no_grad():
                for conv, weight in zip(self.project, head.weights.detach().cpu(), strict=True):
                    conv.weight.mul_(weight)
                    conv.bias.mul_(weight)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4)."""
        if self.project is not None:
            features = [conv(x) for conv, x in zip(self.project, features, strict=True)]
        grown = [features[0]] + [
            F.interpolate(x, scale_factor=float(2**b), mode="nearest") for b, x in enumerate(features) if b
        ]
        return self.predict(torch.cat(grown, 1) if self.project is None else torch.stack(grown).sum(0))


class InferenceNetwork(nn.Module):
    """A derived network's function by running statistics, without anything that only training needs.

    Made by ``PoseNetwork.for_inference``. Heatmaps agree with the network's to float32 rounding. It holds copies:
    training the network further does not change it.

    Raises:
        ValueError: a supernet, which has no fixed operations.
    """

    def __init__(self, network: PoseNetwork):
        super().__init__()
        if network.is_supernet or network.space.beta is None:
            raise ValueError("only a derived network can be folded for inference, this one leaves operations open")
        self.num_joints, self.space = network.num_joints, network.space
        stem: Stem = network.stem
        with torch.no_grad():
            self.first = _fold_chain(stem.first)
            self.further = nn.ModuleList(_fold_chain(layers) for layers in stem.further)
            self.modules_ = nn.ModuleList(InferenceModule(module) for module in network.modules_)
            self.head = InferenceHead(network.head)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Heatmaps (N, K, H / 4, W / 4) of images (N, 3, H, W), any N; sides are multiples of the coarsest scale."""
        return self.head(self.features(images))

    def features(self, images: Tensor) -> list[Tensor]:
        """As ``PoseNetwork.features``."""
        features = self.stem_features(images)
        for module in self.modules_:
            features = module(features)
        return features

    def stem_features(self, images: Tensor) -> list[Tensor]:
        """As ``PoseNetwork.stem_features``."""
        self.space.macro.check_image_size((images.shape[-1], images.shape[-2]))
        features = [self.first(images)]
        for down in self.further:
            features.append(down(features[-1]))
        return features
