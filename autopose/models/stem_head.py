"""The ends of a network (§4.2): the stem before the multi-scale modules, the head behind. N images, K joints."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopose import kernels
from autopose.space import MacroSpace

from .norm import BatchNorm2d, NormState


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
