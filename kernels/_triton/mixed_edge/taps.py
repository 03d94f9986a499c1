"""Triton's convolutions of a mixed edge: implicit matrix products over 35 taps (25 of 5x5, 9 of 3x3, 1 of 1x1).

Weights travel packed, (E, 35, C_in, C_out) in the states' dtype. Taps are ordered: the 9 inner ones of 5x5, its 16
outer ones, the 9 of 3x3, the one of 1x1; so the inner taps of 5x5 and 3x3 share one load of the activations. Columns
of the output tiles run over EB edges of one source, NC channels each. UPCAST: the interpreter multiplies half
precision as integers, so it is given float32. PRECISION is that of float32 products (``ieee`` or ``tf32``).

The forward product lies on its side, (columns, pixels): of a tile so multiplied a thread holds many pixels of few
columns, and sums over pixels, for the moments, within itself.
"""

import triton
import triton.language as tl

from .forward import combine_group, combine_groups, normalise_pool, pool_stats, store_folded
from .window import CONVS, MOMENTS, POOLS, TAPS, edge_number, multiply, pixel_place

# Row + 2 and column + 2 of the 25 taps of a 5x5 convolution, four bits each, 16 of them and 9 more.
ROWS, MORE_ROWS = tl.constexpr(0x1100000333222111), tl.constexpr(0x444443322)
COLS, MORE_COLS = tl.constexpr(0x4043210321321321), tl.constexpr(0x432104040)


@triton.jit
def tap_place(tap):
    """Index of the convolution (0, 1, 2 for 1x1, 3x3, 5x5) of a tap, and its displacement in rows and columns.

    From a table in constants: to reckon the ring of outer taps would cost a third of a product's instructions.
    """
    conv = tl.where(tap < 25, 2, tl.where(tap < 34, 1, 0))
    of_five = tl.where(tap < 25, tap, tl.where(tap < 34, tap - 25, 4))  # the tap of 5x5 that lies there
    bits = (of_five % 16) * 4
    dh = (tl.where(of_five < 16, ROWS, MORE_ROWS) >> bits) & 7
    dw = (tl.where(of_five < 16, COLS, MORE_COLS) >> bits) & 7
    return conv, dh.to(tl.int32) - 2, dw.to(tl.int32) - 2


@triton.jit
def within(place, size):
    """0 <= place < size, by one comparison: without its sign, a negative place is a large one."""
    return place.to(tl.uint32, bitcast=True) < size.to(tl.uint32)


@triton.jit
def rows_of(pixel, there, H, W, C):
    """Row, column and offset of pixels; where there is none a row that no displacement brings into the image."""
    row, col = pixel_place(pixel, H, W)
    return tl.where(there, row, -(2**30)), col, pixel * C


@triton.jit
def moved(row, col, down, right, H, W):
    """Row and column of pixels ``down`` < H rows and ``right`` < W columns further on, in whatever image."""
    col += right
    over = (col >= W).to(tl.int32)
    row += down + over
    return row - (row >= H).to(tl.int32) * H, col - over * W


@triton.jit
def load_tap(ptr, row, col, at, dh, dw, lane, H, W, C):
    """Pixels of a plane displaced by (dh, dw), zero outside the image: (lanes, pixels)."""
    inside = within(row + dh, H) & within(col + dw, W)
    place = (ptr + (dh * W + dw) * C + lane)[:, None] + at[None, :]
    return tl.load(place, mask=(lane < C)[:, None] & inside[None, :], other=0.0)  # (lanes, pixels)


@triton.jit
def load_weight(columns, tap, lane, live, C):
    """Packed weights of a tap: (columns, lanes of C_in)."""
    place = columns[:, None] + ((tap * C + lane) * C)[None, :]
    return tl.load(place, mask=live[:, None] & (lane < C)[None, :], other=0.0)  # (columns, lanes)


@triton.jit
def store_output(
    acc, y_ptr, stats_ptr, columns, lanes, pixel, there, rows, live, C, part, stride, STORED: tl.constexpr
):  # fmt: skip
    """Store an output tile (columns, pixels), and its columns' mean and squared deviations (of the rounded values).

    ``there``: which pixels there are, ``rows`` of them; the tile is zero at others. One that is not STORED leaves
    these alone.
    """
    value = acc
    if STORED:
        value = acc.to(y_ptr.dtype.element_ty)
        tl.store(columns[:, None] + (pixel * C)[None, :], value, mask=live[:, None] & there[None, :])
        value = value.to(tl.float32)
    mean = tl.sum(value, axis=1) / rows
    deviation = value - mean[:, None] * there.to(tl.float32)[None, :]  # one instruction, where a choice is another
    base = stats_ptr + part * MOMENTS * stride
    tl.store(base + lanes, mean, mask=live)
    tl.store(base + stride + lanes, tl.sum(deviation * deviation, axis=1), mask=live)


@triton.jit(do_not_specialize=["P", "H", "W", "S", "source", "slots", "pool_parts", "pool_rows", "eps"])
def taps_kernel(
    active_ptr, packed_ptr, y_ptr, stats_ptr, x_ptr, pools_ptr, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr,
    coef_ptr, count_ptr, P, H, W, C, S, source, slots, pool_parts, pool_rows, eps,
    PLANES: tl.constexpr, BM: tl.constexpr, EB: tl.constexpr, NC: tl.constexpr, BK: tl.constexpr, KB: tl.constexpr,
    WHOLE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr, AHEAD: tl.constexpr,
    SPAN: tl.constexpr, AFFINE: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All convolutions of ReLU(x), active, for the edges of a group's sources, the group beginning with ``source``.

    Planes y[e, k], of two PLANES none the 1x1's, and moments (group, T + groups, 2, slots * 3 * C). One program a (part
    of BM pixels, block of EB edges times NC channels, source); KB blocks of BK channels cover C. Of each such block and
    source, the last program of SPAN parts combines their moments, and the last of these normalises: mean, var
    (E, 5, C) and coef (E, 5, 2, C), such that mix[e, k] * BN(y) = coef[e, k, 0] * y + coef[e, k, 1]. WHOLE: pixels and
    channels fill all tiles, which saves their masks, a seventh of the instructions at C = 16.

    What becomes of the pools' statistics: BP > 0: behind these, programs a (part, block of BC channels) take the
    moments of the pools of the group's only x, (T + groups, 2, 2, C), in tiles of BP pixels, and normalise likewise.
    AHEAD > 0: so many programs in front normalise those of all the group's sources, from ``pool_parts`` moments of
    ``pool_rows`` pixels, (group, T, 2, 2, C), which a launch before has taken. Without SPAN nobody normalises.
    """
    if WHOLE:
        C = KB * BK
    part = tl.program_id(0)
    if BP > 0:
        columns = tl.cdiv(slots, EB) * KB
        if tl.program_id(1) < columns:
            taps_tile(
                active_ptr, packed_ptr, y_ptr, stats_ptr, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr,
                count_ptr, part, P, H, W, C, S, source, slots, columns, eps,
                PLANES, BM, EB, NC, BK, KB, WHOLE, SPAN, AFFINE, UPCAST, PRECISION,
            )  # fmt: skip
        else:
            block = tl.program_id(1) - columns
            pool_stats(
                x_ptr, active_ptr, pools_ptr, part, block, P, H, W, C, BM // BP, False, BP, BC, EVEN
            )  # fmt: skip
            lane = block * BC + tl.arange(0, BC)
            live = lane < C
            parts = tl.num_programs(0)
            groups = tl.cdiv(parts, SPAN)
            count_ptr += tl.program_id(1) * (groups + 1)
            rows = tl.minimum(P, BM)
            if combine_group(pools_ptr, C * POOLS, lane, live, POOLS, C, count_ptr, part, parts, rows, P, SPAN, BC):
                of_groups = pools_ptr + parts * MOMENTS * POOLS * C
                for pool in range(POOLS):
                    normalise_pool(
                        pool, of_groups, lane, live, groups, rows * SPAN, P, source, slots, S, mix_ptr, weight_ptr,
                        bias_ptr, mean_ptr, var_ptr, coef_ptr, C, eps, AFFINE, 2048 // BC, BC,
                    )  # fmt: skip
    elif AHEAD > 0:
        columns = tl.num_programs(1)
        if part >= AHEAD:
            taps_tile(
                active_ptr, packed_ptr, y_ptr, stats_ptr, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr,
                count_ptr, part - AHEAD, P, H, W, C, S, source, slots, columns, eps,
                PLANES, BM, EB, NC, BK, KB, WHOLE, SPAN, AFFINE, UPCAST, PRECISION,
            )  # fmt: skip
        elif tl.program_id(1) == 0:
            lane = part // POOLS * BC + tl.arange(0, BC)
            pools_ptr += tl.program_id(2) * pool_parts * POOLS * MOMENTS * C
            normalise_pool(
                part % POOLS, pools_ptr, lane, lane < C, pool_parts, pool_rows, P, source + tl.program_id(2), slots, S,
                mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr, C, eps, AFFINE, 2048 // BC, BC,
            )  # fmt: skip
    else:
        taps_tile(
            active_ptr, packed_ptr, y_ptr, stats_ptr, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr,
            count_ptr, part, P, H, W, C, S, source, slots, tl.num_programs(1), eps,
            PLANES, BM, EB, NC, BK, KB, WHOLE, SPAN, AFFINE, UPCAST, PRECISION,
        )  # fmt: skip


@triton.jit
def taps_tile(
    active_ptr, packed_ptr, y_ptr, stats_ptr, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr, count_ptr,
    part, P, H, W, C, S, source, slots, columns, eps,
    PLANES: tl.constexpr, BM: tl.constexpr, EB: tl.constexpr, NC: tl.constexpr, BK: tl.constexpr, KB: tl.constexpr,
    WHOLE: tl.constexpr, SPAN: tl.constexpr, AFFINE: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile of the three products of `taps_kernel`, and their moments, or all that it makes of these."""
    member = tl.program_id(2)
    source += member
    active_ptr += member * (P.to(tl.int64) * C)
    width = slots * CONVS * C
    parts = tl.cdiv(P, BM)
    groups = tl.cdiv(parts, SPAN) if SPAN > 0 else 0
    stats_ptr += member * (parts + groups) * MOMENTS * width
    blocks = tl.cdiv(C, NC)
    column = tl.arange(0, EB * NC)  # (EB * NC,), edge by edge
    slot = (tl.program_id(1) // blocks) * EB + column // NC
    cout = (tl.program_id(1) % blocks) * NC + column % NC
    live = (slot < slots) & (cout < C)
    edge = edge_number(source, slot, S).to(tl.int64)
    size = P.to(tl.int64) * C
    weights = packed_ptr + edge * TAPS * C * C + cout
    out = y_ptr + edge * PLANES * size + cout
    lanes = slot * CONVS * C + cout
    pixel = part * BM + tl.arange(0, BM)
    there = pixel == pixel if WHOLE else pixel < P
    rows = BM if WHOLE else tl.minimum(BM, P - part * BM).to(tl.float32)
    row, col, at = rows_of(pixel, there, H, W, C)

    acc = tl.zeros((EB * NC, BM), tl.float32)
    for block in range(KB):
        lane = block * BK + tl.arange(0, BK)
        a = load_tap(active_ptr, row, col, at, 0, 0, lane, H, W, C)  # (BK, BM)
        acc = multiply(load_weight(weights, 34, lane, live, C), a, acc, UPCAST, PRECISION)  # (EB * NC, BK) @ (BK, BM)
    store_output(acc, y_ptr, stats_ptr, out, lanes, pixel, there, rows, live, C, part, width, PLANES == CONVS)

    acc = tl.zeros((EB * NC, BM), tl.float32)
    acc3 = tl.zeros((EB * NC, BM), tl.float32)
    for step in range(9 * KB):
        tap = step // KB
        lane = (step % KB) * BK + tl.arange(0, BK)
        a = load_tap(active_ptr, row, col, at, tap // 3 - 1, tap % 3 - 1, lane, H, W, C)  # (BK, BM)
        acc = multiply(load_weight(weights, tap, lane, live, C), a, acc, UPCAST, PRECISION)  # (EB * NC, BK) @ (BK, BM)
        acc3 = multiply(load_weight(weights, tap + 25, lane, live, C), a, acc3, UPCAST, PRECISION)
    out += (PLANES - 2) * size
    store_output(acc3, y_ptr, stats_ptr, out, lanes + C, pixel, there, rows, live, C, part, width, True)

    for step in range(16 * KB):
        tap = step // KB + 9
        lane = (step % KB) * BK + tl.arange(0, BK)
        _, dh, dw = tap_place(tap)
        a = load_tap(active_ptr, row, col, at, dh, dw, lane, H, W, C)  # (BK, BM)
        acc = multiply(load_weight(weights, tap, lane, live, C), a, acc, UPCAST, PRECISION)  # (EB * NC, BK) @ (BK, BM)
    out += size
    store_output(acc, y_ptr, stats_ptr, out, lanes + 2 * C, pixel, there, rows, live, C, part, width, True)
    if SPAN > 0:
        rows = tl.minimum(P, BM)
        count_ptr += (member * columns + tl.program_id(1)) * (groups + 1)
        if combine_group(stats_ptr, width, lanes, live, CONVS, C, count_ptr, part, parts, rows, P, SPAN, EB * NC):
            for conv in range(CONVS):
                of_conv = lanes + conv * C
                mean, var = combine_groups(stats_ptr, width, of_conv, live, parts, rows, P, SPAN, EB * NC)
                store_folded(
                    mean, var, edge, conv, cout, live, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr, C,
                    eps, AFFINE,
                )  # fmt: skip


@triton.jit(do_not_specialize=["P", "H", "W", "S", "source", "slots", "edges", "steps", "splits", "down", "right"])
def weight_gradient_kernel(
    active_ptr, dy_ptr, partial_ptr, P, H, W, C, S, source, slots, edges, steps, splits, down, right,
    TB: tl.constexpr, NI: tl.constexpr, EB: tl.constexpr, NC: tl.constexpr, BK: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Partial weight gradients of a group's sources, the first ``source``: rows of (splits, E, 35, C_in, C_out).

    One program a (rows, columns, split of ``steps`` blocks of BK pixels of a source). A tile has TB taps times NI input
    channels as rows and EB edges times NC output channels as columns; the taps of one tile belong to one convolution.
    BK pixels further on is ``down`` rows and ``right`` columns: to add these is cheaper than to divide by W and H.
    """
    group = tl.program_id(0) // tl.cdiv(C, NI)
    five: tl.constexpr = (25 + TB - 1) // TB
    three: tl.constexpr = (9 + TB - 1) // TB
    conv = tl.where(group < five, 2, tl.where(group < five + three, 1, 0))
    first = tl.where(group < five, group * TB, tl.where(group < five + three, 25 + (group - five) * TB, 34))
    limit = tl.where(group < five, 25, tl.where(group < five + three, 34, 35))
    line = tl.arange(0, TB * NI)  # (TB * NI,), tap by tap
    tap = first + line // NI
    cin = (tl.program_id(0) % tl.cdiv(C, NI)) * NI + line % NI
    _, dh, dw = tap_place(tap)
    wanted = (tap < limit) & (cin < C)
    shift = (dh * W + dw) * C + cin

    blocks = tl.cdiv(C, NC)
    column = tl.arange(0, EB * NC)  # (EB * NC,), edge by edge
    slot = (tl.program_id(1) // blocks) * EB + column // NC
    cout = (tl.program_id(1) % blocks) * NC + column % NC
    live = (slot < slots) & (cout < C)
    split = tl.program_id(2) % splits
    member = tl.program_id(2) // splits
    size = P.to(tl.int64) * C
    active_ptr += member * size
    gradient = dy_ptr + ((member * slots + slot) * CONVS + conv) * size + cout

    acc = tl.zeros((TB * NI, EB * NC), tl.float32)
    pixel = split * steps * BK + tl.arange(0, BK)
    row, col = pixel_place(pixel, H, W)
    for _ in range(steps):
        inside = within(row[:, None] + dh[None, :], H) & within(col[:, None] + dw[None, :], W)
        inside = inside & (pixel < P)[:, None] & wanted[None, :]
        a = tl.load(active_ptr + (pixel * C)[:, None] + shift[None, :], mask=inside, other=0.0)  # (BK, TB * NI)
        # (BK, EB * NC)
        b = tl.load(gradient[None, :] + (pixel * C)[:, None], mask=(pixel < P)[:, None] & live[None, :], other=0.0)
        acc = multiply(tl.trans(a), b, acc, UPCAST, PRECISION)  # (TB * NI, BK) @ (BK, EB * NC)
        pixel += BK
        row, col = moved(row, col, down, right, H, W)
    row = split.to(tl.int64) * edges + edge_number(source + member, slot, S)
    place = (partial_ptr + row * TAPS * C * C + cout)[None, :] + ((tap * C + cin) * C)[:, None]
    tl.store(place, acc, mask=wanted[:, None] & live[None, :])
