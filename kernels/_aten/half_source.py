"""What a source of a cell computes in bfloat16, on processors that multiply its matrices: P, C and e as in `source`.

Tensors are stored in bfloat16 and never widened. Statistics and reductions accumulate in float32 inside of the
library's normalisation; sums of planes with a factor a channel are products with diagonal matrices, which read a plane
once and accumulate in float32 too. The pools, the same for all edges, are kept normalised; in place of the average
stands the sum over the window, a depth-wise convolution.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..topology import AVERAGE, IDENTITY, NUM_CONVS, NUM_NORMED, NUM_OPS, NUM_POOLS
from .convolution import EdgeConvolution, image, pixels
from .source import POOL, Source, Sums, per_edge
from .statistics import batch_statistics, total_over
from .tables import Tables

AREA = 9
"""Pixels of a window; sums of windows that hold fewer are scaled up to as many, so that a sum is 9 averages."""

AREAS = torch.tensor([AREA if op == AVERAGE else 1.0 for op in range(NUM_NORMED)], device="cpu").view(-1, 1, 1)
"""What the kept planes of the operations are multiples of."""

batch_norm, batch_norm_backward = torch.ops.aten.native_batch_norm, torch.ops.aten.native_batch_norm_backward


class HalfSource(Source):
    """A source in bfloat16: ``plain`` is a matrix (P, 3 * C), window sums, maxima and the state itself.

    The pools are normalised by the batch's statistics or, where statistics are given (they differ from edge to edge),
    raw.
    """

    @staticmethod
    def sums_dtype(like: Tensor) -> torch.dtype:
        return like.dtype

    @staticmethod
    def node(total: Tensor, shift: Tensor, like: Tensor) -> Tensor:
        # The library's normalisation adds the constants in float32.
        zeros, ones = torch.zeros_like(shift), torch.ones_like(shift)
        return batch_norm(image(total.contiguous(), like), ones, shift, zeros, ones, False, 0.0, 0.0)[0]

    @staticmethod
    def pools(state: Tensor) -> tuple[Tensor, Tensor]:
        maximum, argmax = F.max_pool2d(state, 3, 1, 1, return_indices=True)
        sums = _scale_border(_window_sums(state))
        return torch.cat([pixels(sums), pixels(maximum), pixels(state)], 1), argmax

    def statistics(self, tables: Tables) -> tuple[Tensor, Tensor]:
        channels = self.state.shape[1]
        mean, var = batch_statistics([*self.convolved, self.plain], self.state, tables.group)
        mean, var = (per_edge(t[:-channels], channels) for t in (mean, var))  # without the state's
        return mean / AREAS, var / AREAS**2

    def accumulate(self, sums: Tensor, tables: Tables, index: int, mean: Tensor, var: Tensor) -> Tensor:
        batch, weights = tables.mean is None, tables.scales[index]
        rows = sums.new_empty(NUM_OPS, *mean.shape[1:])
        rows[:NUM_NORMED] = weights * torch.rsqrt(var + tables.eps) / AREAS
        rows[IDENTITY] = tables.skip[index].unsqueeze(1)
        # With the rounded factors, so that a mean is taken away exactly as it was added.
        raw = NUM_CONVS if batch else NUM_NORMED
        const = -(rows[:raw] * (mean * AREAS)[:raw]).sum(0)
        if batch:
            self.plain = self._normalised(mean[NUM_CONVS:, 0], var[NUM_CONVS:, 0], tables.eps)
            rows[NUM_CONVS:NUM_NORMED] = weights[NUM_CONVS:]
        for op, (plane, matrix) in enumerate(zip(self.convolved, _squares(rows[:NUM_CONVS]), strict=True)):
            if index == 0 and op == 0:
                torch.mm(plane, matrix, out=sums)
            else:
                sums.addmm_(plane, matrix)
        sums.addmm_(self.plain, _wide(rows[NUM_CONVS:]).flatten(0, 1))
        return const if tables.shift is None else const + tables.shift[index]

    def backward(
        self, grad: Tensor, tables: Tables, index: int, mean: Tensor, var: Tensor,
        convs: list[EdgeConvolution], edges: list[int], need: bool,
    ) -> tuple[Sums, Tensor | None]:  # fmt: skip
        weights, rstd, batch = tables.scales[index].expand_as(mean), torch.rsqrt(var + tables.eps), tables.mean is None
        first, second, total = self._convolutions(grad, tables, (weights, mean, var, rstd), convs, edges, need)
        crossed = torch.mm(self.plain.t(), grad).view(NUM_POOLS + 1, -1, *mean.shape[1:])
        pooled, skip = crossed.diagonal(dim1=1, dim2=3).to(mean.dtype).split([NUM_POOLS, 1])
        scale = (weights * rstd / AREAS)[NUM_CONVS:]
        if not batch:
            pooled = (pooled / AREAS[NUM_CONVS:] - first * mean[NUM_CONVS:]) * rstd[NUM_CONVS:]
        sums = (first, torch.cat([second, pooled]), skip[0])
        if not need:
            return sums, None
        const, slope = None, None
        if batch:
            (first, pooled), count = total_over([first, pooled], grad.shape[0], tables.group)
            const, slope = ((scale * t).sum(1) / -count for t in (first, pooled))
        scale = torch.cat([scale, tables.skip[index].view(1, -1, 1).expand_as(scale[:1])]).to(grad.dtype)
        return sums, self._state_gradient(grad, total, scale, const, slope)

    def _convolutions(self, grad, tables: Tables, rows, convs, edges, need: bool) -> tuple[Tensor, Tensor, Tensor]:
        """sum(g) (e, C), sum(g * normalised) (3, e, C), and the gradient (P, C) of the convolutions' input."""
        active, g, batch = F.relu(self.state), image(grad, self.state), tables.mean is None
        alone, shape, total, seconds = batch and not tables.group, rows[1].shape, None, []
        rows = zip(*(t[:NUM_CONVS].flatten(1).unbind(0) for t in rows), strict=True)
        for conv, y, (weight, mean, var, rstd) in zip(convs, self.convolved, rows, strict=True):
            passes = need or conv.gradient is not None
            given = (None, None, mean, rstd) if alone else (mean, var, None, None)
            mask = [passes, True, True]
            dy, second, first = batch_norm_backward(g, image(y, self.state), weight, *given, alone, tables.eps, mask)
            seconds.append(second)
            if not passes:
                continue
            dy = pixels(dy)
            if batch and not alone:
                # So far the statistics were constants; they depend on the values of all processes.
                (a, b), count = total_over([first, second], grad.shape[0], tables.group)
                slope = weight * rstd**2 * b / -count
                const = weight * rstd * a / -count - slope * mean
                dy.addcmul_(y, slope.to(y.dtype)).add_(const.to(y.dtype))
            dx = conv.backward(dy, active, edges, need)
            total = dx if total is None or not need else total.add_(dx)
        return first.view(shape[1:]), torch.stack(seconds).view(-1, *shape[1:]), total

    def _state_gradient(self, grad: Tensor, total: Tensor, scale, const, slope) -> Tensor:
        """(P, C): ``total`` through the ReLU, and what comes through the pools and the identity."""
        state, parts = self.state, []
        *pools, skip = _wide(scale)
        planes = self.plain.split(state.shape[1], 1)
        for op, (x, matrix) in enumerate(zip(planes[:NUM_POOLS], pools, strict=True)):
            if const is None:
                part = torch.mm(grad, matrix.t())
            else:
                part = torch.addmm(const[op].to(grad.dtype), grad, matrix.t())
                part.addmm_(x, torch.diag(slope[op].to(grad.dtype)))
            parts.append(image(part, state))
        average = _window_sums(_scale_border(parts[0]))
        maximum = torch.ops.aten.max_pool2d_with_indices_backward(parts[1], state, *POOL, [1, 1], False, self.argmax)
        total = torch.ops.aten.threshold_backward(total, pixels(state), 0)
        total.add_(pixels(average)).add_(pixels(maximum))
        return total.addmm_(grad, skip.t())

    def _normalised(self, mean: Tensor, var: Tensor, eps: float) -> Tensor:
        """``plain`` with its pools, of mean and variance (2, C), as all edges share them."""
        areas = AREAS[NUM_CONVS:, 0]
        mean = torch.cat([mean * areas, torch.zeros_like(mean[:1])])
        var = torch.cat([(var + eps) * areas**2, torch.ones_like(mean[:1])])
        x = image(self.plain, self.state)
        return pixels(batch_norm(x, None, None, mean.flatten(), var.flatten(), False, 0.0, 0.0)[0])


@lru_cache(maxsize=64)
def _identities(edges: int, channels: int) -> tuple[Tensor, Tensor]:
    """(e * C, e * C) and, side by side, (C, e * C)."""
    square, wide = torch.eye(edges * channels), torch.eye(channels).repeat(1, edges)
    return square.bfloat16(), wide.bfloat16()


def _squares(rows: Tensor) -> Tensor:
    """The factors rows (any, e, C) as diagonal matrices (any, e * C, e * C)."""
    return _identities(*rows.shape[1:])[0] * rows.flatten(1).unsqueeze(1)


def _wide(rows: Tensor) -> Tensor:
    """The factors rows (any, e, C) as matrices (any, C, e * C), which give a plane (P, C) to every edge."""
    return _identities(*rows.shape[1:])[1] * rows.flatten(1).unsqueeze(1)


def _window_sums(x: Tensor) -> Tensor:
    """x (N, C, H, W) summed over windows of 3 x 3; its own gradient."""
    channels = x.shape[1]
    return F.conv2d(x, x.new_ones(channels, 1, 3, 3), padding=1, groups=channels)


def _scale_border(x: Tensor) -> Tensor:
    """Window sums x (N, C, H, W), in place, as if the windows at the border were whole; its own gradient."""
    height, width = x.shape[2:]
    # Whole numbers of halves: exact in any format.
    x[:, :, :: max(1, height - 1)].mul_(3 if height == 1 else 1.5)
    x[:, :, :, :: max(1, width - 1)].mul_(3 if width == 1 else 1.5)
    return x
