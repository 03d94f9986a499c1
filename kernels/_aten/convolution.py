"""Convolutions of one source for several edges: P = N * H * W pixels, C channels, E edges, k x k taps.

Activations are (N, C, H, W) in channels_last, which is the matrix (P, C); outputs are matrices (P, E * C).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

CHANNELS_LAST = torch.channels_last
PIXELS_PER_CHANNEL = 4
HALF_WEIGHTS = 2**18
"""Weights from which on the library's gradient of more in bfloat16 takes far longer than of as many in two calls."""
HALF_PIXELS_PER_CHANNEL = 12
"""Up to which a product with copied neighbourhoods finds the weights' gradient in bfloat16 faster than the library."""


def pixels(x: Tensor) -> Tensor:
    """x (N, C, H, W) in channels_last as the matrix (P, C), without a copy."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def image(matrix: Tensor, like: Tensor) -> Tensor:
    """A matrix (P, any) as (N, any, H, W) in channels_last, sized as ``like``, without a copy."""
    n, _, h, w = like.shape
    return matrix.view(n, h, w, -1).permute(0, 3, 1, 2)


def weights_outweigh(x: Tensor, weight: Tensor) -> bool:
    """Whether on a CPU an edge's weight (C, C, k, k) is heavier than x (N, C, H, W), as on coarse branches.

    The library puts weights into the format of x at every call, and their gradient back. Weights lie contiguous: where
    they are the heavier, x is put into their format instead. A 1 x 1 weight is in both formats at once.
    """
    plain = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return plain and weight.shape[-1] > 1 and x.numel() < weight[0].numel() * x.shape[1]


class EdgeConvolution:
    """The k x k convolutions of a cell's edges, weight (edges, C, C, k, k), run for all edges of one source at once.

    The weights of an edge may lie in memory as (C, C, k, k) or, as the library prefers them, as (C, k, k, C).

    Where pixels are few and weights many (coarse branches at small batches) the library spends more time on putting
    weights and their gradients into its own layout than on the sums; there it convolves in the format of the weights
    (`weights_outweigh`), or, at the extreme, every edge is a matrix product over copied neighbourhoods. In bfloat16 the
    weights' gradient alone is such a product, one for all edges.
    """

    def __init__(self, weight: Tensor, like: Tensor, gradient: bool = False):
        self.channels, self.k = weight.shape[1], weight.shape[-1]
        self.taps_first = weight.permute(0, 1, 3, 4, 2).is_contiguous()
        self.rows = self._matrices(weight)
        self.gradient = empty_gradient(weight) if gradient else None
        self.gradient_rows = self._matrices(self.gradient) if gradient else None
        self.half = like.device.type == "cpu" and like.dtype == torch.bfloat16
        self.outweighed = not self.taps_first and weights_outweigh(like, weight[0])
        self.by_product = (
            like.device.type == "cpu"
            and like.dtype in (torch.float32, torch.float64)
            and like.numel() <= PIXELS_PER_CHANNEL * self.channels**2
        )
        self.gradient_by_product = self.half and like.numel() <= HALF_PIXELS_PER_CHANNEL * self.channels**2

    def forward(self, x: Tensor, edges: Sequence[int]) -> Tensor:
        """(P, edges * C): x (N, C, H, W) convolved with the weights of ``edges``."""
        if not self._multiplies(edges):
            y = F.conv2d(self._formatted(x), self._gather(edges), padding=self.k // 2)
            return pixels(y.contiguous(memory_format=CHANNELS_LAST))
        columns = self._columns(x, self.taps_first)
        y = x.new_empty(columns.shape[0], len(edges) * self.channels)
        for edge, out in zip(edges, y.split(self.channels, 1), strict=True):
            torch.mm(columns, self.rows[edge].t(), out=out)
        return y

    def backward(self, grad: Tensor, x: Tensor, edges: Sequence[int], need_input: bool) -> Tensor | None:
        """The gradient (P, C) of x for that of the output, (P, edges * C); the weights' goes into ``gradient``."""
        if self._multiplies(edges):
            return self._product_backward(grad, x, edges, need_input)
        if self.gradient is not None and self.gradient_by_product:
            self._gradient_product(grad, x, edges)
            return self._library_backward(grad, x, edges, True, False) if need_input else None
        parts = max(1, min(len(edges), HALF_WEIGHTS // self.rows[0].numel())) if self.half else len(edges)
        if self.gradient is not None and parts < len(edges):
            for at in range(0, len(edges), parts):
                columns = grad[:, at * self.channels : (at + parts) * self.channels]
                self._library_backward(columns.contiguous(), x, edges[at : at + parts], False, True)
            return self._library_backward(grad, x, edges, True, False) if need_input else None
        return self._library_backward(grad, x, edges, need_input, self.gradient is not None)

    def _library_backward(self, grad: Tensor, x: Tensor, edges, need_input: bool, need_weight: bool) -> Tensor | None:
        back, geometry = torch.ops.aten.convolution_backward, ([1, 1], [self.k // 2] * 2, [1, 1], False, [0, 0], 1)
        mask = [need_input, need_weight, False]
        # Of weights without whose values the gradient is found, the library asks the shape.
        shape = (grad.shape[1], self.channels, self.k, self.k)
        weight = self._gather(edges) if need_input else x.new_empty(shape)
        dx, dw, _ = back(image(grad, x), self._formatted(x), weight, None, *geometry, mask)
        if need_weight:
            torch._foreach_copy_([self.gradient_rows[edge] for edge in edges], list(self._split(dw)))
        return pixels(dx.contiguous(memory_format=CHANNELS_LAST)) if need_input else None

    def _multiplies(self, edges: Sequence[int]) -> bool:
        """Whether matrix products convolve: they copy neighbourhoods once for all edges, a lone one gains nothing."""
        return self.by_product and (len(edges) > 1 or self.k == 1)

    def _formatted(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) in the format that moves less: its own, or that of the weights."""
        return x.contiguous() if self.outweighed else x

    def _product_backward(self, grad, x, edges, need_input) -> Tensor | None:
        rows = list(zip(edges, grad.split(self.channels, 1), strict=True))
        if self.gradient is not None:
            columns = self._columns(x, self.taps_first)
            for edge, g in rows:
                torch.mm(g.t(), columns, out=self.gradient_rows[edge])
        if not need_input:
            return None
        if self.k == 1:
            total = torch.mm(rows[0][1], self.rows[edges[0]])
            for edge, g in rows[1:]:
                total.addmm_(g, self.rows[edge])
            return total
        total = torch.mm(self.rows[edges[0]].t(), rows[0][1].t())
        for edge, g in rows[1:]:
            total.addmm_(self.rows[edge].t(), g.t())
        (n, c, h, w), taps = x.shape, self.k**2
        shape, order = ((taps, c, n, h * w), (2, 1, 0, 3)) if self.taps_first else ((c, taps, n, h * w), (2, 0, 1, 3))
        columns = total.view(shape).permute(order).reshape(n, c * taps, h * w)
        return pixels(F.fold(columns, (h, w), self.k, padding=self.k // 2).contiguous(memory_format=CHANNELS_LAST))

    def _gradient_product(self, grad: Tensor, x: Tensor, edges: Sequence[int]) -> None:
        """The weights' gradients, from neighbourhoods in the order in which x lies, which copies whole pixels."""
        found = torch.mm(grad.t(), self._columns(x, taps_first=True))
        shape = (len(edges), self.channels, self.k, self.k, self.channels)
        for edge, gradient in zip(edges, found.view(shape).permute(0, 1, 4, 2, 3), strict=True):
            self.gradient[edge].copy_(gradient)

    def _columns(self, x: Tensor, taps_first: bool) -> Tensor:
        """(P, C * k * k): every pixel's neighbourhood, in the order (C, k, k) or ``taps_first``, (k, k, C)."""
        if self.k == 1:
            return pixels(x)
        (n, c, h, w), k = x.shape, self.k
        padded = F.pad(x, [k // 2] * 4).contiguous(memory_format=CHANNELS_LAST)
        s = padded.stride()
        taps = ((k, k), (s[2], s[3]))
        size, stride = ((*taps[0], c), (*taps[1], s[1])) if taps_first else ((c, *taps[0]), (s[1], *taps[1]))
        return padded.as_strided((n, h, w, *size), (s[0], s[2], s[3], *stride)).reshape(n * h * w, c * k * k)

    def _gather(self, edges: Sequence[int]) -> Tensor:
        """The weights of ``edges`` as those of one wider convolution, (edges * C, C, k, k)."""
        c, k = self.channels, self.k
        rows = self.rows[edges[0]] if len(edges) == 1 else torch.cat([self.rows[edge] for edge in edges])
        return rows.view(-1, k, k, c).permute(0, 3, 1, 2) if self.taps_first else rows.view(-1, c, k, k)

    def _split(self, stacked: Tensor) -> Sequence[Tensor]:
        """(edges * C, C, k, k) as the edges' matrices (C, C * k * k)."""
        ordered = stacked.permute(0, 2, 3, 1) if self.taps_first else stacked
        return ordered.reshape(stacked.shape[0], -1).split(self.channels)

    def _matrices(self, weight: Tensor) -> Sequence[Tensor]:
        """Every edge's weights as a matrix (C, C * k * k), in the order in which they lie in memory."""
        ordered = weight.permute(0, 1, 3, 4, 2) if self.taps_first else weight
        return ordered.reshape(weight.shape[0], self.channels, -1).unbind(0)


def empty_gradient(weight: Tensor) -> Tensor:
    """An empty tensor like weight (edges, C, C, k, k), in the order in which `EdgeConvolution` fills it."""
    edges, out, channels, k, _ = weight.shape
    if weight.permute(0, 1, 3, 4, 2).is_contiguous():
        return weight.new_empty(edges, out, k, k, channels).permute(0, 1, 4, 2, 3)
    return weight.new_empty(weight.shape)
