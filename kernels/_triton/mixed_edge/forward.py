"""Triton kernels of a mixed edge's forward pass beside its convolutions: statistics, their combination and the mix.

P pixels (N * H * W), C channels, E edges, T partial results. Sources that do not depend on one another, a group, share
their launches: all inputs of a cell are one, every node is one of its own. States are (P, C) planes in NHWC order; the
convolutions' outputs are planes y[e, k] (P, C), k = 0, 1, 2 for 1x1, 3x3, 5x5. All arithmetic is in float32.
"""

import triton
import triton.language as tl

from .window import (
    CONVS,
    FOLDED,
    MOMENTS,
    NORMED,
    OPS,
    POOLS,
    edge_number,
    last_of,
    load_live,
    pixel_place,
    pointwise,
    pointwise_weight,
    pool_window,
    rectify,
)


@triton.jit
def store_moments(stats_ptr, part, lanes, lane, live, first, second, shift, count):
    """Store a part's mean and sum of squared deviations, from its sums of (v - shift) and (v - shift)^2."""
    s1 = tl.sum(first, axis=0)  # (BC,)
    s2 = tl.sum(second, axis=0)  # (BC,)
    base = stats_ptr + part * MOMENTS * lanes
    tl.store(base + lane, shift + s1 / count, mask=live)
    tl.store(base + lanes + lane, tl.maximum(s2 - s1 * s1 / count, 0.0), mask=live)


@triton.jit
def pool_stats(
    x_ptr, active_ptr, stats_ptr, part, block, P, H, W, C, tiles,
    ACTIVE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Moments of both pools of a plane x, stats (T, 2, 2, C), and (ACTIVE) its ReLU: one part and block of channels."""
    lane = block * BC + tl.arange(0, BC)  # (BC,)
    live = lane < C
    start = part * tiles * BP
    corner = start + tl.zeros((1,), tl.int32)
    corner_row, corner_col = pixel_place(corner, H, W)
    shift_avg, shift_max, corner_value = pool_window(x_ptr, corner, corner_row, corner_col, lane, live, H, W, C, EVEN)
    shift_avg = tl.sum(shift_avg, axis=0)  # (BC,)
    shift_max = tl.sum(shift_max, axis=0)  # (BC,)
    avg1 = tl.zeros((BP, BC), tl.float32)
    avg2 = tl.zeros((BP, BC), tl.float32)
    max1 = tl.zeros((BP, BC), tl.float32)
    max2 = tl.zeros((BP, BC), tl.float32)
    for tile in range(tiles):
        pixel = start + tile * BP + tl.arange(0, BP)  # (BP,)
        valid = (pixel < P)[:, None] & live[None, :]
        pixel = tl.minimum(pixel, P - 1)
        place = pixel[:, None] * C + lane[None, :]
        row, col = pixel_place(pixel, H, W)
        if ACTIVE:
            active = rectify(load_live(x_ptr + place, live[None, :], EVEN)).to(active_ptr.dtype.element_ty)
            tl.store(active_ptr + place, active, mask=valid)
        average, best, _ = pool_window(x_ptr, pixel, row, col, lane, live, H, W, C, EVEN)  # (BP, BC) each
        average = tl.where(valid, average - shift_avg[None, :], 0.0)
        best = tl.where(valid, best - shift_max[None, :], 0.0)
        avg1 += average
        avg2 += average * average
        max1 += best
        max2 += best * best
    count = (tl.minimum(P, start + tiles * BP) - start).to(tl.float32)
    store_moments(stats_ptr, part, C * POOLS, lane, live, avg1, avg2, shift_avg, count)
    store_moments(stats_ptr + C, part, C * POOLS, lane, live, max1, max2, shift_max, count)


@triton.jit(do_not_specialize=["P", "H", "W", "tiles"])
def pool_stats_kernel(
    x_ptr, active_ptr, stats_ptr, P, H, W, C, tiles, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr
):
    """Moments of both pools of a group's sources, stats (group, T, 2, 2, C), and their ReLU, active.

    One program a (part of ``tiles`` tiles of BP pixels, block of channels, source).
    """
    plane = tl.program_id(2) * (P.to(tl.int64) * C)
    stats_ptr += tl.program_id(2) * tl.num_programs(0) * POOLS * MOMENTS * C
    part, block = tl.program_id(0), tl.program_id(1)
    pool_stats(x_ptr + plane, active_ptr + plane, stats_ptr, part, block, P, H, W, C, tiles, True, BP, BC, EVEN)


@triton.jit(do_not_specialize=["P", "S", "source", "slots", "tiles"])
def collect_kernel(
    out1_ptr, out3_ptr, out5_ptr, y_ptr, stats_ptr, P, C, S, source, slots, tiles, BP: tl.constexpr, BC: tl.constexpr
):
    """A library convolution's merged outputs (P, slots * C) to the planes y[e, k], with their moments.

    stats is (T, 2, slots * 3 * C), a part = ``tiles`` tiles of BP pixels.
    """
    part = tl.program_id(0)
    slot = tl.program_id(1)
    lane = tl.program_id(2) * BC + tl.arange(0, BC)  # (BC,)
    live = lane < C
    start = part * tiles * BP
    count = (tl.minimum(P, start + tiles * BP) - start).to(tl.float32)
    wide = slots * C
    size = P.to(tl.int64) * C
    plane = y_ptr + edge_number(source, slot, S) * CONVS * size
    for k in tl.static_range(CONVS):
        if k == 0:
            out_ptr = out1_ptr
        elif k == 1:
            out_ptr = out3_ptr
        else:
            out_ptr = out5_ptr
        out_ptr += slot * C
        shift = tl.load(out_ptr + start.to(tl.int64) * wide + lane, mask=live, other=0.0).to(tl.float32)  # (BC,)
        first = tl.zeros((BP, BC), tl.float32)
        second = tl.zeros((BP, BC), tl.float32)
        for tile in range(tiles):
            pixel = start + tile * BP + tl.arange(0, BP)  # (BP,)
            valid = (pixel < P)[:, None] & live[None, :]
            value = tl.load(out_ptr + pixel.to(tl.int64)[:, None] * wide + lane[None, :], mask=valid, other=0.0)
            tl.store(plane + k * size + pixel[:, None] * C + lane[None, :], value, mask=valid)
            value = tl.where(valid, value.to(tl.float32) - shift[None, :], 0.0)
            first += value
            second += value * value
        store_moments(stats_ptr + (slot * CONVS + k) * C, part, wide * CONVS, lane, live, first, second, shift, count)


@triton.jit(
    do_not_specialize=["P", "S", "source", "slots", "conv_parts", "pool_parts", "conv_rows", "pool_rows", "eps"]
)
def normalise_kernel(
    conv_stats_ptr, pool_stats_ptr, fixed_mean_ptr, fixed_var_ptr, mix_ptr, weight_ptr, bias_ptr,
    mean_ptr, var_ptr, coef_ptr, P, C, S, source, slots, conv_parts, pool_parts, conv_rows, pool_rows, eps,
    FIXED: tl.constexpr, AFFINE: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Combine the parts' moments (Chan et al.), and fold BN and the mixing weight into coef (E, 5, 2, C).

    One program an (edge of a group's sources, operation, block of channels); ``source`` is the group's first,
    ``*_rows`` are the pixels of a full part. mix[e, k] * BN(y) = coef[e, k, 0] * y + coef[e, k, 1].
    FIXED takes mean and variance as given.
    """
    slot = tl.program_id(0) % slots
    member = tl.program_id(0) // slots
    source += member
    op = tl.program_id(1)
    lane = tl.program_id(2) * BC + tl.arange(0, BC)  # (BC,)
    live = lane < C
    entry = edge_number(source, slot, S) * NORMED + op
    if FIXED:
        mean = tl.load(fixed_mean_ptr + entry * C + lane, mask=live, other=0.0).to(tl.float32)  # (BC,)
        var = tl.load(fixed_var_ptr + entry * C + lane, mask=live, other=1.0).to(tl.float32)  # (BC,)
    elif op < CONVS:
        base = conv_stats_ptr + (member * conv_parts * MOMENTS * slots * CONVS + slot * CONVS + op) * C
        mean, var = combine(base, slots * CONVS * C, lane, live, conv_parts, conv_rows, P, BT, BC)
    else:
        base = pool_stats_ptr + (member * pool_parts * POOLS * MOMENTS + op - CONVS) * C
        mean, var = combine(base, C * POOLS, lane, live, pool_parts, pool_rows, P, BT, BC)
    store_folded(
        mean, var, edge_number(source, slot, S), op, lane, live, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr,
        coef_ptr, C, eps, AFFINE,
    )  # fmt: skip


@triton.jit
def store_folded(
    mean, var, edge, op, lane, live, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr, coef_ptr, C, eps,
    AFFINE: tl.constexpr,
):  # fmt: skip
    """Keep mean and variance of an operation for lanes of an edge, or each of its own, and what `mix_kernel` needs."""
    entry = edge * NORMED + op
    at = entry * C + lane
    tl.store(mean_ptr + at, mean, mask=live)
    tl.store(var_ptr + at, var, mask=live)
    scale = 1.0 / tl.sqrt(var + eps)
    offset = -mean * scale
    if AFFINE:
        weight = tl.load(weight_ptr + at, mask=live, other=0.0).to(tl.float32)
        scale *= weight
        offset = tl.load(bias_ptr + at, mask=live, other=0.0).to(tl.float32) + offset * weight
    mix = tl.load(mix_ptr + (edge * OPS + op + lane * 0), mask=live, other=0.0).to(tl.float32)
    tl.store(coef_ptr + entry * FOLDED * C + lane, mix * scale, mask=live)
    tl.store(coef_ptr + (entry * FOLDED + 1) * C + lane, mix * offset, mask=live)


@triton.jit
def normalise_pool(
    pool, stats_ptr, lane, live, parts, rows, P, source, slots, S, mix_ptr, weight_ptr, bias_ptr, mean_ptr, var_ptr,
    coef_ptr, C, eps, AFFINE: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Statistics of a source's average or maximum from ``parts`` of ``rows`` pixels, for all edges that leave it."""
    mean, var = combine(stats_ptr + pool * C, C * POOLS, lane, live, parts, rows, P, BT, BC)
    for slot in range(slots):
        store_folded(
            mean, var, edge_number(source, slot, S), pool + CONVS, lane, live, mix_ptr, weight_ptr, bias_ptr,
            mean_ptr, var_ptr, coef_ptr, C, eps, AFFINE,
        )  # fmt: skip


@triton.jit
def combine(base, lanes, lane, live, parts, rows, P, BT: tl.constexpr, BC: tl.constexpr):
    """Mean and biased variance over P pixels from ``parts`` partial (mean, squared deviations).

    Means are taken from that of the first BT parts, so that float32 loses nothing to a large mean or an odd part.
    """
    part = tl.arange(0, BT)
    valid = (part < parts)[:, None] & live[None, :]
    place = base + part[:, None] * MOMENTS * lanes + lane[None, :]
    mean = tl.load(place, mask=valid, other=0.0, cache_modifier=".cg")  # (BT, BC)
    shift = tl.sum(mean, axis=0) / tl.minimum(parts, BT).to(tl.float32)
    first = tl.zeros((BT, BC), tl.float32)
    second = tl.zeros((BT, BC), tl.float32)
    for start in range(0, parts, BT):
        part = start + tl.arange(0, BT)
        valid = (part < parts)[:, None] & live[None, :]
        count = tl.minimum(rows, P - part * rows).to(tl.float32)[:, None]
        place = base + part[:, None] * MOMENTS * lanes + lane[None, :]
        mean = tl.load(place, mask=valid, other=0.0, cache_modifier=".cg") - shift[None, :]  # (BT, BC)
        deviation = tl.load(place + lanes, mask=valid, other=0.0, cache_modifier=".cg")  # (BT, BC)
        first += tl.where(valid, count * mean, 0.0)
        second += tl.where(valid, deviation + count * mean * mean, 0.0)
    mean = tl.sum(first, axis=0) / P.to(tl.float32)
    var = tl.sum(second, axis=0) / P.to(tl.float32) - mean * mean
    return shift + mean, tl.maximum(var, 0.0)


@triton.jit
def combine_group(
    base, lanes, lane, live, columns, C, counter_ptr, part, parts, rows, P, SPAN: tl.constexpr, BC: tl.constexpr
):
    """Whether this program, which has stored ``part`` of ``parts``, is the last of all to be done with its own.

    Parts are of groups of SPAN. Whoever is last of a group combines it into one more part, of SPAN * ``rows`` pixels,
    behind all others, for ``columns`` times BC lanes, C apart; the last of these finds them complete. Counters: one a
    group and one for all groups.
    """
    BT: tl.constexpr = SPAN if SPAN * BC < 2048 else 2048 // BC
    group = part // SPAN
    first = group * SPAN
    count = tl.minimum(parts - first, SPAN)
    groups = tl.cdiv(parts, SPAN)
    last = last_of(counter_ptr + group, count)
    if last:
        pixels = tl.minimum(P - first * rows, rows * SPAN)
        out = base + (parts + group) * MOMENTS * lanes
        for column in range(columns):
            at = lane + column * C
            mean, var = combine(base + first * MOMENTS * lanes, lanes, at, live, count, rows, pixels, BT, BC)
            tl.store(out + at, mean, mask=live)
            tl.store(out + lanes + at, var * pixels.to(tl.float32), mask=live)
        last = last_of(counter_ptr + groups, groups)
    return last


@triton.jit
def combine_groups(base, lanes, lane, live, parts, rows, P, SPAN: tl.constexpr, BC: tl.constexpr):
    """Mean and variance of what `combine_group` has made of all parts."""
    BT: tl.constexpr = SPAN if SPAN * BC < 2048 else 2048 // BC
    base += parts * MOMENTS * lanes
    return combine(base, lanes, lane, live, tl.cdiv(parts, SPAN), rows * SPAN, P, BT, BC)


@triton.jit
def pointwise_value(
    edge, x_ptr, coef_ptr, packed_ptr, at, lane, live, C, EVEN: tl.constexpr, UPCAST: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Of a mixed edge of a tile the 1x1 convolution's term, made anew, without its offset; undefined where not live."""
    scale = load_live(coef_ptr + edge * NORMED * FOLDED * C + lane, live, EVEN)  # (BC,)
    weight = pointwise_weight(packed_ptr, edge, lane, live, C)
    x = load_live(x_ptr + at, live[None, :], EVEN)  # (BP, BC)
    return scale[None, :] * pointwise(x, weight, live, UPCAST, PRECISION)


@triton.jit
def edge_value(
    edge, x_ptr, y_ptr, coef_ptr, mix_ptr, pixel, row, col, lane, live, size, H, W, C,
    PLANES: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """One mixed edge of a tile: five folded BN terms and the identity; undefined where not live.

    Of the 1x1 convolution, where it has no plane of y, the offset alone.
    """
    y_ptr += edge * PLANES * size
    coef_ptr += edge * NORMED * FOLDED * C
    average, best, centre = pool_window(x_ptr, pixel, row, col, lane, live, H, W, C, EVEN)  # (BP, BC) each
    value = tl.load(mix_ptr + edge * OPS + NORMED).to(tl.float32) * centre
    bias = tl.zeros(lane.shape, tl.float32)
    for op in tl.static_range(NORMED):
        bias += load_live(coef_ptr + (op * FOLDED + 1) * C + lane, live, EVEN)  # (BC,)
        if op >= CONVS - PLANES:
            scale = load_live(coef_ptr + op * FOLDED * C + lane, live, EVEN)  # (BC,)
            if op < CONVS:
                place = y_ptr + (op + (PLANES - CONVS)) * size + pixel[:, None] * C + lane[None, :]
                term = load_live(place, live[None, :], EVEN)  # (BP, BC)
            elif op == CONVS:
                term = average
            else:
                term = best
            value += scale[None, :] * term
    return value + bias[None, :]


@triton.jit(do_not_specialize=["node", "S", "P", "H", "W"])
def mix_kernel(
    inputs_ptr, nodes_ptr, y_ptr, coef_ptr, mix_ptr, packed_ptr, active_ptr, node, S, P, H, W, C,
    ACTIVE: tl.constexpr, PLANES: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Node ``node`` of a cell: the sum of its S + node incoming edges, from (P, C) planes, stored once.

    ACTIVE also stores its ReLU, the plane active. With two PLANES of y the 1x1's outputs are made anew.
    """
    pixel = tl.program_id(0) * BP + tl.arange(0, BP)  # (BP,)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)  # (BC,)
    live = lane < C
    valid = (pixel < P)[:, None] & live[None, :]
    pixel = tl.minimum(pixel, P - 1)
    row, col = pixel_place(pixel, H, W)
    size = P.to(tl.int64) * C
    first = node * S + node * (node - 1) // 2
    at = pixel[:, None] * C + lane[None, :]
    total = tl.zeros((BP, BC), tl.float32)  # the node, until it is stored once
    if PLANES < CONVS:
        # In loops of their own, where a product needs registers and the windows' values do not stand in them.
        for source in range(S):
            total += pointwise_value(
                first + source, inputs_ptr + source * size, coef_ptr, packed_ptr, at, lane, live, C,
                EVEN, UPCAST, PRECISION,
            )  # fmt: skip
        for earlier in range(node):
            total += pointwise_value(
                first + S + earlier, nodes_ptr + earlier * size, coef_ptr, packed_ptr, at, lane, live, C,
                EVEN, UPCAST, PRECISION,
            )  # fmt: skip
    for source in range(S):
        total += edge_value(
            first + source, inputs_ptr + source * size, y_ptr, coef_ptr, mix_ptr, pixel, row, col, lane, live, size,
            H, W, C, PLANES, EVEN,
        )  # fmt: skip
    for earlier in range(node):
        total += edge_value(
            first + S + earlier, nodes_ptr + earlier * size, y_ptr, coef_ptr, mix_ptr, pixel, row, col, lane, live,
            size, H, W, C, PLANES, EVEN,
        )  # fmt: skip
    tl.store(nodes_ptr + node * size + at, total.to(nodes_ptr.dtype.element_ty), mask=valid)
    if ACTIVE:
        tl.store(active_ptr + at, rectify(total).to(active_ptr.dtype.element_ty), mask=valid)
