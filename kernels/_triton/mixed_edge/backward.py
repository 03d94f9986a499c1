"""Triton kernels of a mixed edge's backward pass, up to the gradients of its operations' raw outputs.

Letters and planes as in `forward`; g is the gradient of a node, (P, C) planes one a node.
With mu, var of a batch and r = 1 / sqrt(var + eps), the gradient of BN's input y is
A * g + B * y + D, where A = mix * weight * r, B = -A * r^2 * sum(g (y - mu)) / P and D = -A * sum(g) / P - B * mu.
"""

import triton
import triton.language as tl

from .window import (
    CONVS,
    MASKED,
    NORMED,
    OPS,
    SUMS,
    TERMS,
    edge_number,
    last_of,
    load_live,
    multiply,
    pixel_place,
    pointwise,
    pointwise_weight,
    pool_window,
    pool_window_place,
    rectify,
    window_size,
)


@triton.jit
def node_gradient(outer_ptr, total_ptr, source, slot, slots, S, size):
    """The plane g of the node that a source's edge ``slot`` leads to.

    Planes of ``total`` hold what the nodes received from outside their cell and from later nodes. The last node, to
    which a source's last slot leads, has none there: nothing is added to its plane of ``outer``.
    """
    plane = (tl.maximum(source - S + 1, 0) + slot) * size
    return tl.where(slot == slots - 1, outer_ptr, total_ptr) + plane


@triton.jit(do_not_specialize=["P", "H", "W", "S", "source", "slots", "tiles", "eps"])
def reduce_kernel(
    x_ptr, y_ptr, outer_ptr, total_ptr, mean_ptr, var_ptr, packed_ptr, mix_ptr, weight_ptr, bias_ptr, sums_ptr,
    coef_ptr, dmix_ptr, dweight_ptr, dbias_ptr, count_ptr, P, H, W, C, S, source, slots, tiles, eps,
    PLANES: tl.constexpr, FIXED: tl.constexpr, AFFINE: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Parts of the sums over pixels of g, g * (y_k - mu_k) for the five normalised operations, and g * x.

    One program a (part of ``tiles`` tiles of BP pixels, source of a group, block of channels), the group beginning with
    ``source``; sums (group, T + groups + 1, slots, 7, C). It sums slot after slot, so that x comes from memory for the
    first only. The last of a source's programs of SPAN parts sums these, behind all parts; the last of these sums
    theirs, behind them, and goes on with `coefficients`.
    """
    part = tl.program_id(0)
    member = tl.program_id(1)
    source += member
    lane = tl.program_id(2) * BC + tl.arange(0, BC)
    live = lane < C
    size = P.to(tl.int64) * C
    x_ptr += member * size
    parts = tl.num_programs(0)
    groups = tl.cdiv(parts, SPAN)
    sums_ptr += member * (parts + groups + 1) * slots * SUMS * C
    for slot in range(slots):
        edge = edge_number(source, slot, S)
        g_ptr = node_gradient(outer_ptr, total_ptr, source, slot, slots, S, size)
        planes = y_ptr + edge * PLANES * size
        means = mean_ptr + edge * NORMED * C + lane
        mean1 = tl.load(means, mask=live, other=0.0)  # (BC,)
        mean3 = tl.load(means + C, mask=live, other=0.0)  # (BC,)
        mean5 = tl.load(means + 2 * C, mask=live, other=0.0)  # (BC,)
        mean_avg = tl.load(means + 3 * C, mask=live, other=0.0)  # (BC,)
        mean_max = tl.load(means + 4 * C, mask=live, other=0.0)  # (BC,)
        out = sums_ptr + (part * slots + slot) * SUMS * C + lane
        sum1 = tl.zeros((BP, BC), tl.float32)
        if PLANES < CONVS:
            # In a loop of its own, where a product needs registers and the other sums do not stand in them.
            weight = pointwise_weight(packed_ptr, edge, lane, live, C)
            for tile in range(tiles):
                pixel = (part * tiles + tile) * BP + tl.arange(0, BP)
                valid = (pixel < P)[:, None] & live[None, :]
                place = tl.minimum(pixel, P - 1)[:, None] * C + lane[None, :]
                y = pointwise(load_live(x_ptr + place, live[None, :], EVEN), weight, live, UPCAST, PRECISION)
                sum1 += tl.load(g_ptr + place, mask=valid, other=0.0).to(tl.float32) * (y - mean1[None, :])
            tl.store(out + C, tl.sum(sum1, axis=0), mask=live)
        sum_g = tl.zeros((BP, BC), tl.float32)
        sum3 = tl.zeros((BP, BC), tl.float32)
        sum5 = tl.zeros((BP, BC), tl.float32)
        sum_avg = tl.zeros((BP, BC), tl.float32)
        sum_max = tl.zeros((BP, BC), tl.float32)
        sum_x = tl.zeros((BP, BC), tl.float32)
        for tile in range(tiles):
            pixel = (part * tiles + tile) * BP + tl.arange(0, BP)
            valid = (pixel < P)[:, None] & live[None, :]
            pixel = tl.minimum(pixel, P - 1)
            place = pixel[:, None] * C + lane[None, :]
            row, col = pixel_place(pixel, H, W)
            average, best, centre = pool_window(x_ptr, pixel, row, col, lane, live, H, W, C, EVEN)  # (BP, BC) each
            g = tl.load(g_ptr + place, mask=valid, other=0.0).to(tl.float32)  # (BP, BC)
            sum_g += g
            if PLANES == CONVS:
                sum1 += g * (load_live(planes + place, live[None, :], EVEN) - mean1[None, :])
            sum3 += g * (load_live(planes + (PLANES - 2) * size + place, live[None, :], EVEN) - mean3[None, :])
            sum5 += g * (load_live(planes + (PLANES - 1) * size + place, live[None, :], EVEN) - mean5[None, :])
            sum_avg += g * (average - mean_avg[None, :])
            sum_max += g * (best - mean_max[None, :])
            sum_x += g * centre
        tl.store(out, tl.sum(sum_g, axis=0), mask=live)
        if PLANES == CONVS:
            tl.store(out + C, tl.sum(sum1, axis=0), mask=live)
        tl.store(out + 2 * C, tl.sum(sum3, axis=0), mask=live)
        tl.store(out + 3 * C, tl.sum(sum5, axis=0), mask=live)
        tl.store(out + 4 * C, tl.sum(sum_avg, axis=0), mask=live)
        tl.store(out + 5 * C, tl.sum(sum_max, axis=0), mask=live)
        tl.store(out + 6 * C, tl.sum(sum_x, axis=0), mask=live)
    width = slots * SUMS * C
    group = part // SPAN
    count = tl.minimum(parts - group * SPAN, SPAN)
    of_groups = sums_ptr + parts * width
    count_ptr += member * (groups + 1)
    if last_of(count_ptr + group, count * tl.num_programs(2)):
        sum_rows(sums_ptr + group * SPAN * width, count, of_groups + group * width, width)
        if last_of(count_ptr + groups, groups):
            total = of_groups + groups * width
            sum_rows(of_groups, groups, total, width)
            tl.debug_barrier()  # all threads have stored what others load
            coefficients(
                total, mean_ptr, var_ptr, mix_ptr, weight_ptr, bias_ptr,
                coef_ptr + member * slots * NORMED * TERMS * C, dmix_ptr, dweight_ptr, dbias_ptr, P, C, S, source,
                slots, eps, FIXED, AFFINE, ROWS, LANES,
            )  # fmt: skip


@triton.jit
def sum_rows(ptr, rows, out_ptr, width):
    """Sum rows of ``width`` values, which other programs have stored."""
    for start in range(0, width, 512):
        column = start + tl.arange(0, 512)
        total = sum_parts(ptr, width, column, column < width, rows, 8, 512)  # (512,)
        tl.store(out_ptr + column, total, mask=column < width)


@triton.jit
def sum_parts(ptr, stride, lane, live, parts, BT: tl.constexpr, BC: tl.constexpr):
    """Sum over ``parts`` rows, ``stride`` apart."""
    total = tl.zeros((BT, BC), tl.float32)
    for start in range(0, parts, BT):
        part = start + tl.arange(0, BT)
        valid = (part < parts)[:, None] & live[None, :]
        place = ptr + part[:, None] * stride + lane[None, :]
        total += tl.load(place, mask=valid, other=0.0, cache_modifier=".cg")  # (BT, BC)
    return tl.sum(total, axis=0)


@triton.jit(do_not_specialize=["P", "S", "source", "slots", "eps"])
def coefficients_kernel(
    sums_ptr, mean_ptr, var_ptr, mix_ptr, weight_ptr, bias_ptr, coef_ptr, dmix_ptr, dweight_ptr, dbias_ptr,
    P, C, S, source, slots, eps, AFFINE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """`coefficients` of sums over all processes, (group, 1, slots, 7, C). One program a source of a group."""
    member = tl.program_id(0)
    coefficients(
        sums_ptr + member * slots * SUMS * C, mean_ptr, var_ptr, mix_ptr, weight_ptr, bias_ptr,
        coef_ptr + member * slots * NORMED * TERMS * C, dmix_ptr, dweight_ptr, dbias_ptr, P, C, S, source + member,
        slots, eps, False, AFFINE, ROWS, LANES,
    )  # fmt: skip


@triton.jit
def coefficients(
    sums_ptr, mean_ptr, var_ptr, mix_ptr, weight_ptr, bias_ptr, coef_ptr, dmix_ptr, dweight_ptr, dbias_ptr,
    P, C, S, source, slots, eps,
    FIXED: tl.constexpr, AFFINE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Gradients of mix (E, 6) and of BN's affine parameters, and coef (slots, 5, 3, C) = A, B, D of the module's text.

    For all edges of a source and all operations at once, in ROWS of eight a slot, from sums (slots, 7, C). FIXED
    statistics carry no gradient: B = D = 0.
    """
    row = tl.arange(0, ROWS)
    slot = row // 8
    op = row % 8
    edge = edge_number(source, slot, S)
    mixed = (slot < slots) & (op < OPS)
    normed = (slot < slots) & (op < NORMED)
    mix = tl.load(mix_ptr + edge * OPS + op, mask=mixed, other=0.0).to(tl.float32)[:, None]  # (ROWS, 1)
    gradient = tl.zeros((ROWS,), tl.float32)
    for block in range(0, C, LANES):
        lane = block + tl.arange(0, LANES)
        valid = normed[:, None] & (lane < C)[None, :]
        of_slot = sums_ptr + (slot * SUMS * C)[:, None] + lane[None, :]
        sum_g = tl.load(of_slot, mask=valid, other=0.0, cache_modifier=".cg")  # (ROWS, LANES)
        sum_y = tl.load(
            of_slot + ((op + 1) * C)[:, None], mask=mixed[:, None] & (lane < C)[None, :], other=0.0,
            cache_modifier=".cg",
        )  # fmt: skip
        entry = ((edge * NORMED + op) * C)[:, None] + lane[None, :]
        mean = tl.load(mean_ptr + entry, mask=valid, other=0.0)  # (ROWS, LANES)
        rstd = 1.0 / tl.sqrt(tl.load(var_ptr + entry, mask=valid, other=1.0) + eps)  # (ROWS, LANES)
        scale = rstd
        value = scale * sum_y
        if AFFINE:
            scale *= tl.load(weight_ptr + entry, mask=valid, other=0.0).to(tl.float32)
            value = scale * sum_y + tl.load(bias_ptr + entry, mask=valid, other=0.0).to(tl.float32) * sum_g
            tl.store(dweight_ptr + entry, mix * rstd * sum_y, mask=valid)
            tl.store(dbias_ptr + entry, mix * sum_g, mask=valid)
        gradient += tl.sum(tl.where(normed[:, None], value, sum_y), axis=1)
        first = mix * scale
        second = tl.zeros((ROWS, LANES), tl.float32)
        third = tl.zeros((ROWS, LANES), tl.float32)
        if not FIXED:
            second = -first * rstd * rstd * sum_y / P
            third = -first * sum_g / P - second * mean
        place = coef_ptr + ((slot * NORMED + op) * TERMS * C)[:, None] + lane[None, :]
        tl.store(place, first, mask=valid)
        tl.store(place + C, second, mask=valid)
        tl.store(place + 2 * C, third, mask=valid)
    tl.store(dmix_ptr + edge * OPS + op, gradient, mask=mixed)


@triton.jit
def raw_gradient(coef_ptr, op: tl.constexpr, g, y, lane, live, C, FIXED: tl.constexpr, EVEN: tl.constexpr):
    """A * g + B * y + D of operation ``op``; A * g with FIXED statistics, where y may be NaN."""
    gradient = load_live(coef_ptr + op * TERMS * C + lane, live, EVEN)[None, :] * g
    if not FIXED:
        gradient += load_live(coef_ptr + (op * TERMS + 1) * C + lane, live, EVEN)[None, :] * y
        gradient += load_live(coef_ptr + (op * TERMS + 2) * C + lane, live, EVEN)[None, :]
    return gradient


@triton.jit(do_not_specialize=["P", "H", "W", "S", "source", "slots"])
def spread_kernel(
    x_ptr, y_ptr, outer_ptr, total_ptr, coef_ptr, mix_ptr, packed_ptr, dy_ptr, davg_ptr, dmax_ptr, dskip_ptr, place_ptr,
    active_ptr, P, H, W, C, S, source, slots, stride_slot, stride_conv, stride_pixel,
    FIXED: tl.constexpr, ACTIVE: tl.constexpr, PLANES: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
    EVEN: tl.constexpr, UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of the raw outputs of every edge of a group's sources, the group beginning with ``source``.

    One program a (tile of pixels, block of channels, source). dy, one (P, C) matrix an edge and convolution at the
    given strides (elements; a source's edges follow those of the one before); summed over a source's edges: davg
    (already divided by its window's pixels), dmax with the maximum's place in its window (uint8), and the identity's,
    dskip. Where x <= 0, MASKED is added to the place. With two PLANES of y the 1x1's is made anew, and what it gives
    back to x is added to dskip. ACTIVE also stores what the weights' gradients need: ReLU(x), and the 1x1's dy, in
    front of the others.
    """
    member = tl.program_id(2)
    source += member
    pixel = tl.program_id(0) * BP + tl.arange(0, BP)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)
    live = lane < C
    valid = (pixel < P)[:, None] & live[None, :]
    pixel = tl.minimum(pixel, P - 1)
    at = pixel[:, None] * C + lane[None, :]
    row, col = pixel_place(pixel, H, W)
    size = P.to(tl.int64) * C
    zero = size * 0
    x_ptr += member * size
    davg_ptr += member * size
    dmax_ptr += member * size
    dskip_ptr += member * size
    place_ptr += member * size
    dy_ptr += (zero + member) * slots * stride_slot
    coef_ptr += member * slots * NORMED * TERMS * C
    dskip = tl.zeros((BP, BC), tl.float32)
    if PLANES < CONVS:
        # In a loop of its own, where a product needs registers and the windows' values do not stand in them.
        centre = load_live(x_ptr + at, live[None, :], EVEN)  # (BP, BC)
        for slot in range(slots):
            g = load_live(node_gradient(outer_ptr, total_ptr, source, slot, slots, S, size) + at, live[None, :], EVEN)
            weight = pointwise_weight(packed_ptr, edge_number(source, slot, S), lane, live, C)
            y = g if FIXED else pointwise(centre, weight, live, UPCAST, PRECISION)  # (BP, BC)
            dy = raw_gradient(coef_ptr + slot * NORMED * TERMS * C, 0, g, y, lane, live, C, FIXED, EVEN)
            dy = tl.where(live[None, :], dy, 0.0).to(dy_ptr.dtype.element_ty)
            dskip = multiply(dy, tl.trans(weight), dskip, UPCAST, PRECISION)
            if ACTIVE:
                out = dy_ptr + (zero + slot) * stride_slot + pixel.to(tl.int64)[:, None] * stride_pixel + lane[None, :]
                tl.store(out, dy, mask=valid)
        dskip = tl.where(centre <= 0.0, 0.0, dskip)
    average, best, centre, place = pool_window_place(x_ptr, pixel, row, col, lane, valid, H, W, C)  # (BP, BC) each
    if ACTIVE:
        active = rectify(centre).to(active_ptr.dtype.element_ty)
        tl.store(active_ptr + member * size + at, active, mask=valid)
    place += tl.where(centre <= 0.0, MASKED, 0)
    tl.store(place_ptr + at, place.to(tl.uint8), mask=valid)
    davg = tl.zeros((BP, BC), tl.float32)
    dmax = tl.zeros((BP, BC), tl.float32)
    for slot in range(slots):
        edge = edge_number(source, slot, S)
        coef = coef_ptr + slot * NORMED * TERMS * C
        g_ptr = node_gradient(outer_ptr, total_ptr, source, slot, slots, S, size)
        g = load_live(g_ptr + at, live[None, :], EVEN)  # (BP, BC)
        for plane in tl.static_range(PLANES):
            y = load_live(y_ptr + (edge * PLANES + plane) * size + at, live[None, :], EVEN)  # (BP, BC)
            dy = raw_gradient(coef, plane + (CONVS - PLANES), g, y, lane, live, C, FIXED, EVEN)
            to = zero + plane + (CONVS - PLANES if ACTIVE else 0)
            out = dy_ptr + (zero + slot) * stride_slot + to * stride_conv
            out += pixel.to(tl.int64)[:, None] * stride_pixel + lane[None, :]
            tl.store(out, dy.to(dy_ptr.dtype.element_ty), mask=valid)
        davg += raw_gradient(coef, 3, g, average, lane, live, C, FIXED, EVEN)
        dmax += raw_gradient(coef, 4, g, best, lane, live, C, FIXED, EVEN)
        dskip += tl.load(mix_ptr + edge * OPS + NORMED).to(tl.float32) * g  # a number times (BP, BC)
    davg *= (1.0 / window_size(row, col, H, W))[:, None]
    tl.store(davg_ptr + at, davg.to(davg_ptr.dtype.element_ty), mask=valid)
    tl.store(dmax_ptr + at, dmax.to(dmax_ptr.dtype.element_ty), mask=valid)
    tl.store(dskip_ptr + at, dskip.to(dskip_ptr.dtype.element_ty), mask=valid)
