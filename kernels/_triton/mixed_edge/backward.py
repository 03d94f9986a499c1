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


@triton.jit(do_not_specialize=["P", "H", "W", "S", "source", "slots", "tiles"])
def reduce_kernel(
    x_ptr, y_ptr, outer_ptr, total_ptr, mean_ptr, packed_ptr, sums_ptr, P, H, W, C, S, source, slots, tiles,
    PLANES: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Parts of the sums over pixels of g, g * (y_k - mu_k) for the five normalised operations, and g * x.

    One program a (part of ``tiles`` tiles of BP pixels, source of a group, block of channels), the group beginning with
    ``source``; sums (group, T, slots, 7, C). It sums slot after slot, so that x comes from memory for the first only.
    """
    part = tl.program_id(0)
    member = tl.program_id(1)
    source += member
    lane = tl.program_id(2) * BC + tl.arange(0, BC)
    live = lane < C
    size = P.to(tl.int64) * C
    x_ptr += member * size
    sums_ptr += (member * tl.num_programs(0) + part) * slots * SUMS * C
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
        out = sums_ptr + slot * SUMS * C + lane
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


@triton.jit(do_not_specialize=["P", "S", "source", "slots", "parts", "eps"])
def coefficients_kernel(
    sums_ptr, mean_ptr, var_ptr, mix_ptr, weight_ptr, bias_ptr, coef_ptr, dmix_ptr, dweight_ptr, dbias_ptr,
    P, C, S, source, slots, parts, eps,
    FIXED: tl.constexpr, AFFINE: tl.constexpr, BT: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """Gradients of mix (E, 6) and of BN's affine parameters, and coef (slots, 5, 3, C) = A, B, D of the module's text.

    One program an (edge of a group's sources, operation), the group beginning with ``source``; sums
    (group, T, slots, 7, C), coef (group, slots, 5, 3, C). FIXED statistics carry no gradient: B = D = 0.
    """
    slot = tl.program_id(0) % slots
    member = tl.program_id(0) // slots
    source += member
    op = tl.program_id(1)
    edge = edge_number(source, slot, S)
    sums_ptr += (member * parts * slots + slot) * SUMS * C
    coef_ptr += member * slots * NORMED * TERMS * C
    mix = tl.load(mix_ptr + edge * OPS + op).to(tl.float32)
    gradient = tl.zeros((BC,), tl.float32)
    for block in range(0, C, BC):
        lane = block + tl.arange(0, BC)
        live = lane < C
        sum_y = sum_parts(sums_ptr + (op + 1) * C, slots * SUMS * C, lane, live, parts, BT, BC)  # (BC,)
        if op == NORMED:
            gradient += sum_y
        else:
            sum_g = sum_parts(sums_ptr, slots * SUMS * C, lane, live, parts, BT, BC)  # (BC,)
            entry = (edge * NORMED + op) * C + lane
            mean = tl.load(mean_ptr + entry, mask=live, other=0.0)  # (BC,)
            rstd = 1.0 / tl.sqrt(tl.load(var_ptr + entry, mask=live, other=1.0) + eps)  # (BC,)
            scale = rstd
            if AFFINE:
                weight = tl.load(weight_ptr + entry, mask=live, other=0.0).to(tl.float32)
                bias = tl.load(bias_ptr + entry, mask=live, other=0.0).to(tl.float32)
                tl.store(dweight_ptr + entry, mix * rstd * sum_y, mask=live)
                tl.store(dbias_ptr + entry, mix * sum_g, mask=live)
                scale = rstd * weight
                gradient += scale * sum_y + bias * sum_g
            else:
                gradient += scale * sum_y
            first = mix * scale
            if FIXED:
                second = tl.zeros((BC,), tl.float32)
                third = tl.zeros((BC,), tl.float32)
            else:
                second = -first * rstd * rstd * sum_y / P
                third = -first * sum_g / P - second * mean
            place = coef_ptr + (slot * NORMED + op) * TERMS * C + lane
            tl.store(place, first, mask=live)
            tl.store(place + C, second, mask=live)
            tl.store(place + 2 * C, third, mask=live)
    tl.store(dmix_ptr + edge * OPS + op, tl.sum(gradient, axis=0))


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
