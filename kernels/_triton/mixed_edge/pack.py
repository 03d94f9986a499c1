"""Weights of a mixed edge's convolutions, (E, C_out, C_in, k, k), to the order of the matrix products and back.

Packed weights are (E, 35, C_in, C_out); the order of the 35 taps is that of `taps`. Both ways a tile is read
and written along what lies next to each other in memory: C_in and taps on the one side, C_out on the other.
"""

import triton
import triton.language as tl

from .forward import pool_stats
from .window import MOMENTS, POOLS, TAPS


@triton.jit
def packed_place(at, K: tl.constexpr):
    """Input channel and packed tap of element ``at`` of an output channel's weights (C_in, K), K = k * k."""
    tap = at % K
    if K == 25:
        row = tap // 5
        col = tap % 5
        inner = (row > 0) & (row < 4) & (col > 0) & (col < 4)
        ring = tl.where(row == 0, col, tl.where(row == 4, col + 11, row * 2 + 3 + col // 4))
        tap = tl.where(inner, (row - 1) * 3 + col - 1, ring + 9)
    elif K == 9:
        tap += 25
    else:
        tap += 34
    return at // K, tap


@triton.jit
def pack_block(conv_ptr, packed_ptr, edge, cout, block, C, K: tl.constexpr, BJ: tl.constexpr):
    """One of a convolution's blocks of BJ elements (C_in, K) of the output channels ``cout``."""
    at = block * BJ + tl.arange(0, BJ)
    valid = (cout < C)[:, None] & (at < C * K)[None, :]
    value = tl.load(conv_ptr + ((edge * C + cout) * (C * K))[:, None] + at[None, :], mask=valid)  # (BO, BJ)
    cin, tap = packed_place(at, K)
    place = packed_ptr + (((edge * TAPS + tap) * C + cin) * C)[None, :] + cout[:, None]
    tl.store(place, value.to(packed_ptr.dtype.element_ty), mask=valid)


@triton.jit
def pack_edge(
    conv1_ptr, conv3_ptr, conv5_ptr, packed_ptr, edge, outs, block, C, BO: tl.constexpr, BJ: tl.constexpr
):  # fmt: skip
    """A block of one of an edge's convolutions, of its ``outs``-th BO output channels."""
    edge = edge.to(tl.int64)
    cout = outs * BO + tl.arange(0, BO)
    five = tl.cdiv(C * 25, BJ)
    three = tl.cdiv(C * 9, BJ)
    if block < five:
        pack_block(conv5_ptr, packed_ptr, edge, cout, block, C, 25, BJ)
    elif block < five + three:
        pack_block(conv3_ptr, packed_ptr, edge, cout, block - five, C, 9, BJ)
    else:
        pack_block(conv1_ptr, packed_ptr, edge, cout, block - five - three, C, 1, BJ)


@triton.jit
def pack_kernel(conv1_ptr, conv3_ptr, conv5_ptr, packed_ptr, C, BO: tl.constexpr, BJ: tl.constexpr):
    """(E, C_out, C_in, k, k) weights to packed. One program a (edge, BO output channels, block of a convolution)."""
    edge, outs, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    pack_edge(conv1_ptr, conv3_ptr, conv5_ptr, packed_ptr, edge, outs, block, C, BO, BJ)


@triton.jit(do_not_specialize=["P", "H", "W", "tiles", "parts", "members", "edges", "counters"])
def prepare_kernel(
    x_ptr, active_ptr, stats_ptr, conv1_ptr, conv3_ptr, conv5_ptr, packed_ptr, count_ptr,
    P, H, W, C, tiles, parts, members, edges, counters,
    BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr, BO: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """What the first product of a cell waits for, in one launch: `pool_stats` of its inputs, and `pack_kernel`'s work.

    Programs stand in one row: first those of the (parts, blocks of channels, inputs), then those that pack. All
    ``counters`` of the cell's other launches begin at 0.
    """
    blocks = tl.cdiv(C, BC)
    program = tl.program_id(0)
    for counter in range(program, counters, tl.num_programs(0)):
        tl.store(count_ptr + counter, 0)
    packing = program - parts * blocks * members
    if packing < 0:
        member = program // (parts * blocks)
        plane = member * (P.to(tl.int64) * C)
        stats_ptr += member * parts * POOLS * MOMENTS * C
        part, block = program % parts, program // parts % blocks
        pool_stats(x_ptr + plane, active_ptr + plane, stats_ptr, part, block, P, H, W, C, tiles, True, BP, BC, EVEN)
    else:
        edge, outs, block = packing % edges, packing // edges % tl.cdiv(C, BO), packing // (edges * tl.cdiv(C, BO))
        pack_edge(conv1_ptr, conv3_ptr, conv5_ptr, packed_ptr, edge, outs, block, C, BO, BJ)


@triton.jit
def unpack_block(
    partial_ptr, dconv_ptr, edge, cout, block, stride, splits, C, K: tl.constexpr, BS: tl.constexpr, BJ: tl.constexpr
):
    """As `pack_block` the other way, summed over ``splits`` matrices ``stride`` apart."""
    at = block * BJ + tl.arange(0, BJ)
    valid = (cout < C)[:, None] & (at < C * K)[None, :]
    cin, tap = packed_place(at, K)
    place = ((tap * C + cin) * C)[None, :] + cout[:, None]
    total = tl.zeros((BS, cout.shape[0], BJ), tl.float32)  # (splits, BO, BJ)
    for start in range(0, splits, BS):
        split = start + tl.arange(0, BS)
        mask = (split < splits)[:, None, None] & valid[None, :, :]
        total += tl.load(partial_ptr + (split * stride)[:, None, None] + place[None, :, :], mask=mask, other=0.0)
    out = dconv_ptr + ((edge * C + cout) * (C * K))[:, None] + at[None, :]
    tl.store(out, tl.sum(total, axis=0).to(dconv_ptr.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["splits"])
def unpack_kernel(
    partial_ptr, dconv1_ptr, dconv3_ptr, dconv5_ptr, C, splits,
    WANT1: tl.constexpr, WANT3: tl.constexpr, WANT5: tl.constexpr,
    BS: tl.constexpr, BO: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """Sum partial weight gradients (splits, E, 35, C_in, C_out) of a cell.

    One program a (edge, BO output channels, block of one of the wanted convolutions).
    """
    edge, outs, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    unpack_edge(
        partial_ptr, dconv1_ptr, dconv3_ptr, dconv5_ptr, edge, outs, block, tl.num_programs(0), splits, C,
        WANT1, WANT3, WANT5, BS, BO, BJ,
    )  # fmt: skip


@triton.jit
def unpack_edge(
    partial_ptr, dconv1_ptr, dconv3_ptr, dconv5_ptr, edge, outs, block, edges, splits, C,
    WANT1: tl.constexpr, WANT3: tl.constexpr, WANT5: tl.constexpr,
    BS: tl.constexpr, BO: tl.constexpr, BJ: tl.constexpr,
):  # fmt: skip
    """A block of one of an edge's wanted convolutions, of its ``outs``-th BO output channels; none behind the last."""
    edge = edge.to(tl.int64)
    cout = outs * BO + tl.arange(0, BO)
    stride = edges.to(tl.int64) * (C * C * TAPS)
    partial_ptr += edge * (C * C * TAPS)
    five = tl.cdiv(C * 25, BJ) if WANT5 else 0
    three = tl.cdiv(C * 9, BJ) if WANT3 else 0
    if block < five:
        if WANT5:
            unpack_block(partial_ptr, dconv5_ptr, edge, cout, block, stride, splits, C, 25, BS, BJ)
    elif block < five + three:
        if WANT3:
            unpack_block(partial_ptr, dconv3_ptr, edge, cout, block - five, stride, splits, C, 9, BS, BJ)
    elif WANT1:
        unpack_block(partial_ptr, dconv1_ptr, edge, cout, block - five - three, stride, splits, C, 1, BS, BJ)
