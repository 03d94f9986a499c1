"""Triton's input gradient of a mixed edge's convolutions: the transposed product of `taps`, over the same weights.

UPCAST and PRECISION as there.
"""

import triton
import triton.language as tl

from .gather import gathered
from .pack import unpack_edge
from .taps import rows_of, tap_place, within
from .window import CONVS, TAPS, edge_number, last_of, multiply


@triton.jit
def add_tap(
    acc, tap, planes, matrices, inside, at, shift, cin, live, C, UPCAST: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """acc and what a tap of the edges' convolutions gives back, (pixels, C_in); planes are displaced by ``shift``."""
    place = (planes - shift)[None, :] + at[:, None]
    a = tl.load(place, mask=inside[:, None] & live[None, :], other=0.0)  # (pixels, columns)
    mask = live[:, None] & (cin < C)[None, :]
    b = tl.load(matrices[:, None] + ((tap * C + cin) * C)[None, :], mask=mask, other=0.0)  # (columns, C_in)
    return multiply(a, b, acc, UPCAST, PRECISION)


@triton.jit
def add_taps(
    acc, first, last, planes, matrices, row, col, at, cin, live, size, H, W, C,
    PLANES: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """`add_tap` for packed taps, one after the other."""
    for tap in range(first, last):
        conv, dh, dw = tap_place(tap)
        inside = within(row - dh, H) & within(col - dw, W)
        shift = (dh * W + dw) * C
        plane = planes + (conv + (PLANES - CONVS)) * size
        acc = add_tap(acc, tap, plane, matrices, inside, at, shift, cin, live, C, UPCAST, PRECISION)
    return acc


@triton.jit
def add_rows(
    acc, planes, matrices, row, col, at, cin, live, H, W, C, K: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """`add_tap` for all K * K taps of a convolution, row by row."""
    for line in range(tl.minimum(H + K, K)):  # K, unknown to a compiler that would unroll all rows
        dh = line - K // 2
        of_row = within(row - dh, H)
        for tap_col in tl.static_range(K):
            dw = tap_col - K // 2
            if K == 5:
                inner = (line - 1) * 3 + tap_col - 1 if tap_col > 0 and tap_col < 4 else line * 2 + 12 + tap_col // 4
                tap = tl.where(line == 0, tap_col + 9, tl.where(line == 4, tap_col + 20, inner))
            else:
                tap = 25 + line * 3 + tap_col
            inside = of_row & within(col - dw, W)
            shift = (dh * W + dw) * C
            acc = add_tap(acc, tap, planes, matrices, inside, at, shift, cin, live, C, UPCAST, PRECISION)
    return acc


@triton.jit(do_not_specialize=["P", "H", "W", "S", "source", "slots", "edges", "splits"])
def input_gradient_kernel(
    dy_ptr, packed_ptr, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, shares_ptr, count_ptr,
    partial_ptr, dconv1_ptr, dconv3_ptr, dconv5_ptr, P, H, W, C, S, source, slots, edges, splits,
    POINT: tl.constexpr, PLANES: tl.constexpr, BM: tl.constexpr, EB: tl.constexpr, NC: tl.constexpr, KB: tl.constexpr,
    SPLITS: tl.constexpr, ROWS: tl.constexpr, GATHER: tl.constexpr, ADD: tl.constexpr, EVEN: tl.constexpr,
    UNPACK: tl.constexpr, WANT1: tl.constexpr, WANT3: tl.constexpr, WANT5: tl.constexpr,
    BS: tl.constexpr, BO: tl.constexpr, BJ: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient (P, C) of ReLU's output of a group's sources: `gradient_tile`.

    UNPACK: behind the tiles of pixels stand programs that do `unpack_kernel`'s work for all edges of the cell, whose
    partial gradients launches before have left.
    """
    if UNPACK:
        tiles = tl.cdiv(P, BM)
        others = tl.num_programs(0) - tiles
        if tl.program_id(0) < tiles:
            gradient_tile(
                dy_ptr, packed_ptr, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, shares_ptr, count_ptr,
                P, H, W, C, S, source, slots,
                POINT, PLANES, BM, EB, NC, KB, SPLITS, ROWS, GATHER, ADD, EVEN, UPCAST, PRECISION,
            )  # fmt: skip
        else:
            row = tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
            number = row * others + tl.program_id(0) - tiles
            of_edges = number // edges
            outs = tl.cdiv(C, BO)
            unpack_edge(
                partial_ptr, dconv1_ptr, dconv3_ptr, dconv5_ptr, number % edges, of_edges % outs, of_edges // outs,
                edges, splits, C, WANT1, WANT3, WANT5, BS, BO, BJ,
            )  # fmt: skip
    else:
        gradient_tile(
            dy_ptr, packed_ptr, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, shares_ptr, count_ptr,
            P, H, W, C, S, source, slots,
            POINT, PLANES, BM, EB, NC, KB, SPLITS, ROWS, GATHER, ADD, EVEN, UPCAST, PRECISION,
        )  # fmt: skip


@triton.jit
def gradient_tile(
    dy_ptr, packed_ptr, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, shares_ptr, count_ptr,
    P, H, W, C, S, source, slots,
    POINT: tl.constexpr, PLANES: tl.constexpr, BM: tl.constexpr, EB: tl.constexpr, NC: tl.constexpr, KB: tl.constexpr,
    SPLITS: tl.constexpr, ROWS: tl.constexpr, GATHER: tl.constexpr, ADD: tl.constexpr, EVEN: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of the gradient: all edges, convolutions and taps of dy in one sum.

    dy (group, slots, PLANES, P, C), the last two those of 3x3 and 5x5. POINT: it has the 1x1's share too, of PLANES the
    first; else that is in dskip. One program
    a (tile of BM pixels, block of NC input channels, source and one of SPLITS shares of the taps). A step multiplies
    EB edges times NC output channels of one tap; KB blocks of channels cover all. ROWS goes through the taps row by
    row, each row's unrolled, which issues a third fewer instructions where loads are not pipelined. Of SPLITS programs
    each leaves its share, (SPLITS, group, P, C), and the last to come to their counter sums all in the
    order of the shares. GATHER makes of the sum the gradient of x, with the pools', the identity's and (ADD) base: see
    `gathered`.
    """
    group = tl.num_programs(2) // SPLITS
    member = tl.program_id(2) % group
    split = tl.program_id(2) // group
    source += member
    pixel = tl.program_id(0) * BM + tl.arange(0, BM)
    cin = tl.program_id(1) * NC + tl.arange(0, NC)
    row, col, at = rows_of(pixel, pixel < P, H, W, C)
    size = P.to(tl.int64) * C
    column = tl.arange(0, EB * NC)  # (EB * NC,), edge by edge
    dy_ptr += member * slots * PLANES * size
    acc = tl.zeros((BM, NC), tl.float32)
    for block in range(tl.cdiv(slots, EB) * KB):
        slot = (block // KB) * EB + column // NC
        lane = (block % KB) * NC + column % NC
        live = (slot < slots) & (lane < C)
        planes = dy_ptr + slot * PLANES * size + lane
        matrices = packed_ptr + edge_number(source, slot, S).to(tl.int64) * TAPS * C * C + lane
        if ROWS:
            plane = planes + (PLANES - 1) * size
            acc = add_rows(acc, plane, matrices, row, col, at, cin, live, H, W, C, 5, UPCAST, PRECISION)
            plane = planes + (PLANES - 2) * size
            acc = add_rows(acc, plane, matrices, row, col, at, cin, live, H, W, C, 3, UPCAST, PRECISION)
            if POINT:
                acc = add_tap(acc, 34, planes, matrices, pixel < P, at, 0, cin, live, C, UPCAST, PRECISION)
        else:
            taps: tl.constexpr = TAPS if POINT else TAPS - 1  # the last of all is the 1x1's
            share: tl.constexpr = (taps + SPLITS - 1) // SPLITS
            first = split * share
            last = tl.minimum(first + share, taps)
            acc = add_taps(
                acc, first, last, planes, matrices, row, col, at, cin, live, size, H, W, C, PLANES, UPCAST, PRECISION
            )  # fmt: skip
    valid = (pixel < P)[:, None] & (cin < C)[None, :]
    place = at[:, None] + cin[None, :]
    if SPLITS > 1:
        shares_ptr += member * size
        tl.store(shares_ptr + split * group * size + place, acc.to(shares_ptr.dtype.element_ty), mask=valid)
        tile = (member * tl.num_programs(1) + tl.program_id(1)) * tl.cdiv(P, BM) + tl.program_id(0)
        if last_of(count_ptr + tile, SPLITS):
            acc = tl.zeros((BM, NC), tl.float32)
            for each in tl.static_range(SPLITS):
                share = shares_ptr + each * group * size + place
                acc += tl.load(share, mask=valid, other=0.0, cache_modifier=".cg").to(tl.float32)
            store_gradient(
                acc, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, member, pixel, cin, valid, P, H, W, C,
                GATHER, ADD, EVEN,
            )  # fmt: skip
    else:
        store_gradient(
            acc, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, member, pixel, cin, valid, P, H, W, C,
            GATHER, ADD, EVEN,
        )  # fmt: skip


@triton.jit
def store_gradient(
    acc, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, member, pixel, cin, valid, P, H, W, C,
    GATHER: tl.constexpr, ADD: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Store a tile of the gradient, with (GATHER) what `gathered` brings."""
    plane = member * (P.to(tl.int64) * C)
    if GATHER:
        acc = gathered(
            acc, davg_ptr + plane, dmax_ptr + plane, dskip_ptr + plane, place_ptr + plane, base_ptr + plane,
            pixel, cin, P, H, W, C, ADD, EVEN,
        )  # fmt: skip
    place = (pixel * C)[:, None] + cin[None, :]
    tl.store(dx_ptr + plane + place, acc.to(dx_ptr.dtype.element_ty), mask=valid)
