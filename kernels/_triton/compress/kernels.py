"""Triton kernels of ReLU, 1x1 convolution and batch normalisation over the stacked nodes of a cell.

P pixels (N * H * W), C channels, M nodes, T partial results. The concatenation of the nodes is never written: a node is
a (P, C) plane, and the convolution a sum over the M planes, z = sum_m ReLU(node_m) @ W_m, where W_m (C_in, C_out) are
the columns m * C .. (m + 1) * C of the weight (C_out, M * C), read as it is. The output is (z - mu) * scale + offset.
Backward, with r = 1 / sqrt(var + eps): dz = A * g + B * z + D as in `..mixed_edge.backward`, made from g and z where it
is multiplied, so that it is never written either. UPCAST and PRECISION as in `..mixed_edge.taps`.
"""

import triton
import triton.language as tl

from ..mixed_edge.backward import raw_gradient, sum_parts
from ..mixed_edge.forward import combine_group, combine_groups
from ..mixed_edge.taps import store_output
from ..mixed_edge.window import last_of, load_live, multiply, rectify

SUMS = tl.constexpr(2)  # of g and of g * (z - mu)
TERMS = tl.constexpr(3)  # A, B and D


@triton.jit
def load_plane(ptr, pixel, lane, P, C):
    """Rows of a plane, zero outside: (pixels, lanes)."""
    mask = (pixel < P)[:, None] & (lane < C)[None, :]
    return tl.load(ptr + (pixel * C)[:, None] + lane[None, :], mask=mask, other=0.0)  # (pixels, lanes)


@triton.jit(do_not_specialize=["P", "M"])
def compress_product_kernel(
    nodes_ptr, weight_ptr, z_ptr, stats_ptr, mean_ptr, var_ptr, count_ptr, P, C, M,
    BM: tl.constexpr, NC: tl.constexpr, KB: tl.constexpr, SPAN: tl.constexpr, UPCAST: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """z (P, C) of nodes (M, P, C), and its mean and variance from the parts' moments, stats (T + groups, 2, C).

    One program a (part of BM pixels, block of NC output channels); KB blocks of NC input channels cover a node. Without
    a SPAN nobody takes statistics; see `combine_group`.
    """
    part = tl.program_id(0)
    pixel = part * BM + tl.arange(0, BM)
    cout = tl.program_id(1) * NC + tl.arange(0, NC)
    live = cout < C
    size = P.to(tl.int64) * C
    acc = tl.zeros((BM, NC), tl.float32)
    for block in range(M * KB):
        node = block // KB
        lane = (block % KB) * NC + tl.arange(0, NC)
        a = load_plane(nodes_ptr + node * size, pixel, lane, P, C)  # (BM, NC)
        a = rectify(a.to(tl.float32)).to(nodes_ptr.dtype.element_ty)
        place = weight_ptr + (node * C + lane)[:, None] + (cout * (M * C))[None, :]
        b = tl.load(place, mask=(lane < C)[:, None] & live[None, :], other=0.0)  # (NC of C_in, NC)
        acc = multiply(a, b.to(nodes_ptr.dtype.element_ty), acc, UPCAST, PRECISION)
    rows = tl.minimum(BM, P - part * BM).to(tl.float32)
    store_output(tl.trans(acc), z_ptr, stats_ptr, z_ptr + cout, cout, pixel, pixel < P, rows, live, C, part, C, True)
    if SPAN > 0:
        parts = tl.cdiv(P, BM)
        rows = tl.minimum(P, BM)
        count_ptr += tl.program_id(1) * (tl.cdiv(parts, SPAN) + 1)
        if combine_group(stats_ptr, C, cout, live, 1, C, count_ptr, part, parts, rows, P, SPAN, NC):
            mean, var = combine_groups(stats_ptr, C, cout, live, parts, rows, P, SPAN, NC)
            tl.store(mean_ptr + cout, mean, mask=live)
            tl.store(var_ptr + cout, var, mask=live)


@triton.jit(do_not_specialize=["P", "eps"])
def compress_apply_kernel(
    z_ptr, mean_ptr, var_ptr, weight_ptr, bias_ptr, out_ptr, P, C, eps,
    AFFINE: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """The output (P, C): z normalised. One program a (tile of pixels, block of channels)."""
    pixel = tl.program_id(0) * BP + tl.arange(0, BP)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)
    live = lane < C
    valid = (pixel < P)[:, None] & live[None, :]
    at = tl.minimum(pixel, P - 1)[:, None] * C + lane[None, :]
    value = load_live(z_ptr + at, live[None, :], EVEN)  # (BP, BC)
    scale = 1.0 / tl.sqrt(load_live(var_ptr + lane, live, EVEN) + eps)  # (BC,)
    if AFFINE:
        scale *= load_live(weight_ptr + lane, live, EVEN)
    value = (value - load_live(mean_ptr + lane, live, EVEN)[None, :]) * scale[None, :]
    if AFFINE:
        value += load_live(bias_ptr + lane, live, EVEN)[None, :]
    tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["P", "tiles", "eps"])
def compress_reduce_kernel(
    z_ptr, g_ptr, mean_ptr, var_ptr, weight_ptr, sums_ptr, coef_ptr, dweight_ptr, dbias_ptr, count_ptr,
    P, C, tiles, eps,
    FIXED: tl.constexpr, AFFINE: tl.constexpr, SPAN: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr,
    EVEN: tl.constexpr,
):  # fmt: skip
    """Parts (T + groups, 2, C) of the sums over pixels of g and of g * (z - mu), and what `coefficients` makes of them.

    One program a (part of ``tiles`` tiles of BP pixels, block of channels). The last of a group of SPAN parts sums
    these, behind all parts; the last of the groups sums theirs.
    """
    part = tl.program_id(0)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)
    live = lane < C
    mean = tl.load(mean_ptr + lane, mask=live, other=0.0)  # (BC,)
    sum_g = tl.zeros((BP, BC), tl.float32)
    sum_z = tl.zeros((BP, BC), tl.float32)
    for tile in range(tiles):
        pixel = (part * tiles + tile) * BP + tl.arange(0, BP)
        valid = (pixel < P)[:, None] & live[None, :]
        at = tl.minimum(pixel, P - 1)[:, None] * C + lane[None, :]
        g = tl.load(g_ptr + at, mask=valid, other=0.0).to(tl.float32)  # (BP, BC)
        sum_g += g
        sum_z += g * (load_live(z_ptr + at, live[None, :], EVEN) - mean[None, :])
    store_sums(sums_ptr + part * SUMS * C, lane, live, C, tl.sum(sum_g, axis=0), tl.sum(sum_z, axis=0))
    BT: tl.constexpr = SPAN if SPAN < 64 else 64
    parts = tl.num_programs(0)
    groups = tl.cdiv(parts, SPAN)
    group = part // SPAN
    count_ptr += tl.program_id(1) * (groups + 1)
    of_groups = sums_ptr + parts * SUMS * C
    count = tl.minimum(parts - group * SPAN, SPAN)
    if last_of(count_ptr + group, count):
        of_group = sums_ptr + group * SPAN * SUMS * C
        total_g, total_z = load_sums(of_group, lane, live, C, count, BT, BC)  # (BC,) each
        store_sums(of_groups + group * SUMS * C, lane, live, C, total_g, total_z)
        if last_of(count_ptr + groups, groups):
            total_g, total_z = load_sums(of_groups, lane, live, C, groups, BT, BC)  # (BC,) each
            coefficients(
                total_g, total_z, mean, var_ptr, weight_ptr, coef_ptr, dweight_ptr, dbias_ptr, lane, live, P, C, eps,
                FIXED, AFFINE, BC,
            )  # fmt: skip


@triton.jit
def store_sums(sums_ptr, lane, live, C, sum_g, sum_z):
    """Of a part or a group."""
    tl.store(sums_ptr + lane, sum_g, mask=live)
    tl.store(sums_ptr + C + lane, sum_z, mask=live)


@triton.jit
def load_sums(sums_ptr, lane, live, C, parts, BT: tl.constexpr, BC: tl.constexpr):
    """Both sums of so many parts or groups, added up."""
    sum_g = sum_parts(sums_ptr, C * SUMS, lane, live, parts, BT, BC)  # (BC,)
    sum_z = sum_parts(sums_ptr + C, C * SUMS, lane, live, parts, BT, BC)  # (BC,)
    return sum_g, sum_z


@triton.jit
def coefficients(
    sum_g, sum_z, mean, var_ptr, weight_ptr, coef_ptr, dweight_ptr, dbias_ptr, lane, live, P, C, eps,
    FIXED: tl.constexpr, AFFINE: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """coef (3, C) = A, B, D, and the gradients of batch normalisation's own weight and bias.

    FIXED statistics carry no gradient: B = D = 0.
    """
    rstd = 1.0 / tl.sqrt(tl.load(var_ptr + lane, mask=live, other=1.0) + eps)  # (BC,)
    first = rstd
    if AFFINE:
        first *= tl.load(weight_ptr + lane, mask=live, other=0.0).to(tl.float32)
        tl.store(dweight_ptr + lane, rstd * sum_z, mask=live)
        tl.store(dbias_ptr + lane, sum_g, mask=live)
    if FIXED:
        second = tl.zeros((BC,), tl.float32)
        third = tl.zeros((BC,), tl.float32)
    else:
        second = -first * rstd * rstd * sum_z / P
        third = -first * sum_g / P - second * mean
    tl.store(coef_ptr + lane, first, mask=live)
    tl.store(coef_ptr + C + lane, second, mask=live)
    tl.store(coef_ptr + 2 * C + lane, third, mask=live)


@triton.jit
def product_gradient(z_ptr, g_ptr, coef_ptr, pixel, cout, P, C, FIXED: tl.constexpr):
    """dz = A * g + B * z + D in the states' dtype, zero outside: (pixels, output channels)."""
    g = load_plane(g_ptr, pixel, cout, P, C).to(tl.float32)  # (pixels, output channels)
    z = load_plane(z_ptr, pixel, cout, P, C).to(tl.float32)  # (pixels, output channels)
    dz = raw_gradient(coef_ptr, 0, g, z, cout, cout < C, C, FIXED, False)
    inside = (pixel < P)[:, None] & (cout < C)[None, :]
    return tl.where(inside, dz, 0.0).to(z_ptr.dtype.element_ty)


@triton.jit(do_not_specialize=["P", "M", "steps", "splits"])
def compress_gradient_kernel(
    nodes_ptr, z_ptr, g_ptr, coef_ptr, weight_ptr, dnodes_ptr, partial_ptr, P, C, M, steps, splits,
    BM: tl.constexpr, NI: tl.constexpr, NO: tl.constexpr, OB: tl.constexpr, WEIGHT: tl.constexpr, FIXED: tl.constexpr,
    UPCAST: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients of the nodes, dnodes (M, P, C), and (WEIGHT) parts of the weight's, (splits, C_out, M * C).

    One program a (block of NI channels of a node, split of ``steps`` tiles of BM pixels, block of NO output channels).
    It writes its block of the weight's gradient; that of the nodes is written by the programs of the first block of
    output channels, for all OB blocks.
    """
    blocks = tl.cdiv(C, NI)
    node = tl.program_id(0) // blocks
    cin = (tl.program_id(0) % blocks) * NI + tl.arange(0, NI)
    split = tl.program_id(1)
    mine = tl.program_id(2)
    cout = mine * NO + tl.arange(0, NO)
    plane = node * (P.to(tl.int64) * C)
    nodes_ptr += plane
    dnodes_ptr += plane
    rows = weight_ptr + (node * C + cin)[None, :]  # (1, NI)
    weight = tl.load(rows + (cout * (M * C))[:, None], mask=(cout < C)[:, None] & (cin < C)[None, :], other=0.0)
    weight = weight.to(nodes_ptr.dtype.element_ty)  # (NO, NI)
    total = tl.zeros((NI, NO), tl.float32)  # of the weight's gradient
    for step in range(steps):
        pixel = (split * steps + step) * BM + tl.arange(0, BM)
        active = rectify(load_plane(nodes_ptr, pixel, cin, P, C).to(tl.float32))  # (BM, NI)
        dz = product_gradient(z_ptr, g_ptr, coef_ptr, pixel, cout, P, C, FIXED)  # (BM, NO)
        if WEIGHT:
            a = tl.trans(active.to(nodes_ptr.dtype.element_ty))  # (NI, BM)
            total = multiply(a, dz, total, UPCAST, PRECISION)  # (NI, BM) @ (BM, NO)
        if mine == 0:
            through = multiply(dz, weight, tl.zeros((BM, NI), tl.float32), UPCAST, PRECISION)  # (BM, NO) @ (NO, NI)
            for block in range(1, OB):
                other = block * NO + tl.arange(0, NO)
                mask = (other < C)[:, None] & (cin < C)[None, :]
                b = tl.load(rows + (other * (M * C))[:, None], mask=mask, other=0.0)  # (NO, NI)
                b = b.to(nodes_ptr.dtype.element_ty)
                dz = product_gradient(z_ptr, g_ptr, coef_ptr, pixel, other, P, C, FIXED)  # (BM, NO)
                through = multiply(dz, b, through, UPCAST, PRECISION)
            through = tl.where(active <= 0.0, 0.0, through)
            valid = (pixel < P)[:, None] & (cin < C)[None, :]
            place = dnodes_ptr + (pixel * C)[:, None] + cin[None, :]
            tl.store(place, through.to(dnodes_ptr.dtype.element_ty), mask=valid)
    if WEIGHT:
        place = partial_ptr + (split * C + cout)[None, :] * (M * C) + (node * C + cin)[:, None]
        tl.store(place, total, mask=(cin < C)[:, None] & (cout < C)[None, :])


@triton.jit(do_not_specialize=["size", "splits"])
def compress_sum_kernel(partial_ptr, dweight_ptr, size, splits, BS: tl.constexpr, BC: tl.constexpr):
    """The weight's gradient (C_out, M * C), of ``size`` elements, from its parts. One program a BC elements."""
    lane = tl.program_id(0) * BC + tl.arange(0, BC)
    total = sum_parts(partial_ptr, size, lane, lane < size, splits, BS, BC)  # (BC,)
    tl.store(dweight_ptr + lane, total.to(dweight_ptr.dtype.element_ty), mask=lane < size)
