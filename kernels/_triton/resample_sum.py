"""Triton kernels of the cross-scale resample-and-sum, forward and backward one launch each for up to 8 sources.

A source's SHIFT says how it is resampled: s > 0 nearest upsampling by 2^s, 0 identity, s < 0 averaging by 2^-s.
Tensors are dense, channels_last (LAST) or contiguous, all alike; tiles are BP pixels x BC channels; sums are float32.
"""

# ruff: noqa: SIM102  (Triton drops the outer of two nested ifs when it compiles, the inner one runs on the device)

from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import Launch, kinds, on_device

MAX_SOURCES = 8
LANES = 64
ELEMENTS = 1024
MAX_PIXELS = 2**31 - ELEMENTS
SHIFTS = tuple(f"S{i}" for i in range(MAX_SOURCES))


@triton.jit
def _place(pixel, lane, C, H, W, LAST: tl.constexpr):
    """Offsets [BP, BC] of pixels (numbered over N, H, W) and channels in a dense tensor of H x W images."""
    if LAST:
        place = pixel.to(tl.int64)[:, None] * C + lane[None, :]
    else:
        first = (pixel // (H * W)).to(tl.int64) * C * H * W + pixel % (H * W)
        place = first[:, None] + lane[None, :] * (H * W)
    return place


@triton.jit
def _resampled(x_ptr, pixel, lane, valid, C, H, W, SHIFT: tl.constexpr, LAST: tl.constexpr):
    """Values [BP, BC] of one source at pixels of the H x W result."""
    row = pixel // W % H
    col = pixel % W
    image = pixel // (H * W)
    if SHIFT >= 0:
        h = H // (1 << SHIFT)
        w = W // (1 << SHIFT)
        source = (image * h + row // (1 << SHIFT)) * w + col // (1 << SHIFT)
        result = tl.load(x_ptr + _place(source, lane, C, h, w, LAST), mask=valid, other=0.0).to(tl.float32)
    else:
        F: tl.constexpr = 1 << -SHIFT
        result = tl.zeros(valid.shape, tl.float32)
        for dh in range(F):
            for dw in tl.static_range(F):
                source = (image * (H * F) + row * F + dh) * (W * F) + col * F + dw
                value = tl.load(x_ptr + _place(source, lane, C, H * F, W * F, LAST), mask=valid, other=0.0)
                result += value.to(tl.float32)
        result *= 1.0 / (F * F)
    return result


@triton.jit
def _weighted(x_ptr, w_ptr, index, pixel, lane, valid, C, H, W, SHIFT: tl.constexpr, LAST: tl.constexpr):
    value = _resampled(x_ptr, pixel, lane, valid, C, H, W, SHIFT, LAST)
    if w_ptr is not None:
        value *= tl.load(w_ptr + index).to(tl.float32)
    return value


@triton.jit(do_not_specialize=["P", "H"])
def forward_kernel(
    out_ptr, w_ptr, x0, x1, x2, x3, x4, x5, x6, x7, P, C, H, W,
    S0: tl.constexpr, S1: tl.constexpr, S2: tl.constexpr, S3: tl.constexpr, S4: tl.constexpr, S5: tl.constexpr,
    S6: tl.constexpr, S7: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """A tile of the result: BP of the P = N * H * W pixels, BC channels, summed over all sources."""
    pixel = tl.program_id(0) * BP + tl.arange(0, BP)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)
    valid = (pixel < P)[:, None] & (lane < C)[None, :]
    total = _weighted(x0, w_ptr, 0, pixel, lane, valid, C, H, W, S0, LAST)
    if x1 is not None:
        total += _weighted(x1, w_ptr, 1, pixel, lane, valid, C, H, W, S1, LAST)
    if x2 is not None:
        total += _weighted(x2, w_ptr, 2, pixel, lane, valid, C, H, W, S2, LAST)
    if x3 is not None:
        total += _weighted(x3, w_ptr, 3, pixel, lane, valid, C, H, W, S3, LAST)
    if x4 is not None:
        total += _weighted(x4, w_ptr, 4, pixel, lane, valid, C, H, W, S4, LAST)
    if x5 is not None:
        total += _weighted(x5, w_ptr, 5, pixel, lane, valid, C, H, W, S5, LAST)
    if x6 is not None:
        total += _weighted(x6, w_ptr, 6, pixel, lane, valid, C, H, W, S6, LAST)
    if x7 is not None:
        total += _weighted(x7, w_ptr, 7, pixel, lane, valid, C, H, W, S7, LAST)
    tl.store(out_ptr + _place(pixel, lane, C, H, W, LAST), total.to(out_ptr.dtype.element_ty), mask=valid)


@triton.jit
def _source_gradient(
    g_ptr, w_ptr, parts_ptr, x_ptr, dx_ptr, index, block, blocks, P, C, H, W,
    SHIFT: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """The gradient of tile ``block`` of source ``index``, and its part of the weight's."""
    if SHIFT >= 0:
        h = H // (1 << SHIFT)
        w = W // (1 << SHIFT)
        count = P // (1 << (2 * SHIFT))
    else:
        h = H * (1 << -SHIFT)
        w = W * (1 << -SHIFT)
        count = P * (1 << (-2 * SHIFT))
    pixel = block * BP + tl.arange(0, BP)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)
    valid = (pixel < count)[:, None] & (lane < C)[None, :]
    # The adjoint of resampling by 2^s sums what averaging by 2^s averages; that of averaging repeats a fraction.
    grad = _resampled(g_ptr, pixel, lane, valid, C, h, w, -SHIFT, LAST)
    if SHIFT > 0:
        grad *= 1 << (2 * SHIFT)
    if SHIFT < 0:
        grad *= 1.0 / (1 << (-2 * SHIFT))
    place = _place(pixel, lane, C, h, w, LAST)
    if parts_ptr is not None:
        x = tl.load(x_ptr + place, mask=valid, other=0.0).to(tl.float32)
        part = tl.sum(tl.sum(tl.where(valid, grad * x, 0.0), axis=1), axis=0)
        tl.store(parts_ptr + (index * blocks + block) * tl.num_programs(1) + tl.program_id(1), part)
    if w_ptr is not None:
        grad *= tl.load(w_ptr + index).to(tl.float32)
    tl.store(dx_ptr + place, grad.to(dx_ptr.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["e0", "e1", "e2", "e3", "e4", "e5", "e6", "e7", "blocks", "P", "H"])
def backward_kernel(
    g_ptr, w_ptr, parts_ptr, x0, x1, x2, x3, x4, x5, x6, x7, d0, d1, d2, d3, d4, d5, d6, d7,
    e0, e1, e2, e3, e4, e5, e6, e7, blocks, P, C, H, W,
    S0: tl.constexpr, S1: tl.constexpr, S2: tl.constexpr, S3: tl.constexpr, S4: tl.constexpr, S5: tl.constexpr,
    S6: tl.constexpr, S7: tl.constexpr, LAST: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Gradients of all sources: programs up to e0 make the tiles of source 0, up to e1 those of source 1, ..."""
    pid = tl.program_id(0)
    if pid < e0:
        _source_gradient(g_ptr, w_ptr, parts_ptr, x0, d0, 0, pid, blocks, P, C, H, W, S0, LAST, BP, BC)
    if d1 is not None:
        if (pid >= e0) & (pid < e1):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x1, d1, 1, pid - e0, blocks, P, C, H, W, S1, LAST, BP, BC)
    if d2 is not None:
        if (pid >= e1) & (pid < e2):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x2, d2, 2, pid - e1, blocks, P, C, H, W, S2, LAST, BP, BC)
    if d3 is not None:
        if (pid >= e2) & (pid < e3):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x3, d3, 3, pid - e2, blocks, P, C, H, W, S3, LAST, BP, BC)
    if d4 is not None:
        if (pid >= e3) & (pid < e4):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x4, d4, 4, pid - e3, blocks, P, C, H, W, S4, LAST, BP, BC)
    if d5 is not None:
        if (pid >= e4) & (pid < e5):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x5, d5, 5, pid - e4, blocks, P, C, H, W, S5, LAST, BP, BC)
    if d6 is not None:
        if (pid >= e5) & (pid < e6):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x6, d6, 6, pid - e5, blocks, P, C, H, W, S6, LAST, BP, BC)
    if d7 is not None:
        if (pid >= e6) & (pid < e7):
            _source_gradient(g_ptr, w_ptr, parts_ptr, x7, d7, 7, pid - e6, blocks, P, C, H, W, S7, LAST, BP, BC)


def forward(inputs: Sequence[Tensor], weights: Tensor | None, size: tuple[int, int]) -> Tensor:
    """The result (N, C, H, W) of up to 8 dense sources, all channels_last or all contiguous, in their format.

    Raises ValueError where a source or the result has more than `MAX_PIXELS` pixels.
    """
    like, last = inputs[0], _last(inputs)
    launch = _forward_launch(tuple([x.shape for x in inputs]), size, last, like.device, kinds(*inputs, weights))
    formatted = torch.channels_last if last else torch.contiguous_format
    out = torch.empty((*like.shape[:2], *size), dtype=like.dtype, device=like.device, memory_format=formatted)
    with on_device(out):
        launch(out, weights, *_padded(inputs))
    return out


def backward(
    grad: Tensor, inputs: Sequence[Tensor], weights: Tensor | None, need_weights: bool
) -> tuple[list[Tensor], Tensor | None]:
    """Gradients of the sources and (``need_weights``) of the weights, float32; all tensors are of one format."""
    gradients = [torch.empty_like(x) for x in inputs]
    shapes, last = tuple([x.shape for x in inputs]), _last([grad, *inputs])
    tensors = kinds(grad, *inputs, weights)
    blocks, launch = _backward_launch(shapes, grad.shape[2:], last, grad.device, tensors, need_weights)
    parts = torch.zeros(len(inputs), blocks, dtype=torch.float32, device=grad.device) if need_weights else None
    with on_device(grad):
        launch(grad, weights, parts, *_padded(inputs), *_padded(gradients))
    return gradients, parts.sum(1) if need_weights else None


@lru_cache(maxsize=1024)
def _forward_launch(shapes, size, last: bool, device, tensors) -> Launch:
    """Tensors: the result, weights, 8 sources. The arguments are all that the launch depends on."""
    n, c = shapes[0][:2]
    _check_pixels(shapes, size)
    rows, lanes = _tile(c)
    grid = (triton.cdiv(n * size[0] * size[1], rows), triton.cdiv(c, lanes))
    shifts = dict(zip(SHIFTS, _shifts(shapes, size), strict=True))
    return Launch(forward_kernel, grid, n * size[0] * size[1], c, *size, **shifts, LAST=last, BP=rows, BC=lanes)


@lru_cache(maxsize=1024)
def _backward_launch(shapes, size, last: bool, device, tensors, need_weights: bool) -> tuple[int, Launch]:
    """Parts of a source's weight's gradient, and the launch: gradient, weights, parts, 8 sources, their gradients."""
    n, c = shapes[0][:2]
    rows, lanes = _tile(c)
    counts = [triton.cdiv(n * h * w, rows) for _, _, h, w in shapes]
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    columns, blocks = triton.cdiv(c, lanes), max(counts)
    shifts = dict(zip(SHIFTS, _shifts(shapes, size), strict=True))
    return blocks * columns, Launch(
        backward_kernel, (ends[-1], columns), *_padded(ends, 0), blocks, n * size[0] * size[1], c, *size,
        **shifts, LAST=last, BP=rows, BC=lanes,
    )  # fmt: skip


def _check_pixels(shapes: Sequence[tuple[int, ...]], size: tuple[int, int]) -> None:
    """Raise ValueError for planes too large for the kernels' 32-bit numbers of pixels."""
    most = shapes[0][0] * max(h * w for h, w in (size, *(shape[2:] for shape in shapes)))
    # The last tile ends up to its rows behind the pixels.
    if most > MAX_PIXELS:
        raise ValueError(f"resample_sum takes at most {MAX_PIXELS} pixels a source, got {most}: use a smaller batch")


def _last(tensors: Sequence[Tensor]) -> bool:
    return all(x.is_contiguous(memory_format=torch.channels_last) for x in tensors)


def _tile(channels: int) -> tuple[int, int]:
    """Pixels and channels of a tile."""
    lanes = min(triton.next_power_of_2(channels), LANES)
    return ELEMENTS // lanes, lanes


def _shifts(shapes: Sequence[tuple[int, ...]], size: tuple[int, int]) -> list[int]:
    shifts = []
    for shape in shapes:
        side, want = max(zip(shape[2:], size, strict=True), key=max)
        shifts.append((want // side).bit_length() - 1 if want >= side else 1 - (side // want).bit_length())
    return _padded(shifts, 0)


def _padded(items: Sequence, filler=None) -> list:
    return [*items, *[filler] * (MAX_SOURCES - len(items))]
