"""How gradients come back to x: those of pools and identity gathered, the convolutions' summed before.

Letters and planes as in `forward`.
"""

import triton
import triton.language as tl

from .window import MASKED, load_live, pixel_place


@triton.jit
def gathered(
    total, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, pixel, lane, P, H, W, C,
    ADD: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """Gradient of x, in float32: ReLU's mask on ``total``, that of its output; both pools and the identity; ADD base.

    A pool's gradient is gathered: a pixel looks at the nine windows that hold it. What the mask and the maximum's
    place are, `spread_kernel` has written to place.
    """
    live = (lane < C)[None, :]
    pixel = tl.minimum(pixel, P - 1)
    at = pixel[:, None] * C + lane[None, :]
    row, col = pixel_place(pixel, H, W)
    own = tl.load(place_ptr + at) if EVEN else tl.load(place_ptr + at, mask=live)  # (pixels, lanes)
    total = tl.where(own >= MASKED, 0.0, total)
    total += load_live(dskip_ptr + at, live, EVEN)
    for tap in range(9):
        dh = tap // 3 - 1
        dw = tap % 3 - 1
        near_h = tl.minimum(tl.maximum(row + dh, 0), H - 1) - row
        near_w = tl.minimum(tl.maximum(col + dw, 0), W - 1) - col
        inside = ((near_h == dh) & (near_w == dw))[:, None]
        near = (pixel + near_h * W + near_w)[:, None] * C + lane[None, :]
        place = tl.load(place_ptr + near) if EVEN else tl.load(place_ptr + near, mask=live)  # (pixels, lanes)
        taken = inside & (place % MASKED == 8 - tap)
        total += tl.where(inside, load_live(davg_ptr + near, live, EVEN), 0.0)
        total += tl.where(taken, load_live(dmax_ptr + near, live, EVEN), 0.0)
    if ADD:
        total += load_live(base_ptr + at, live, EVEN)
    return total


@triton.jit(do_not_specialize=["P", "H", "W"])
def gather_kernel(
    first_ptr, second_ptr, third_ptr, davg_ptr, dmax_ptr, dskip_ptr, place_ptr, base_ptr, dx_ptr, P, H, W, C,
    ADD: tl.constexpr, BP: tl.constexpr, BC: tl.constexpr, EVEN: tl.constexpr,
):  # fmt: skip
    """dx (P, C) of a group's sources, where the library has made the three convolutions' gradients of ReLU(x).

    One program a (tile of pixels, block of channels, source). ADD adds base, what the node received from outside its
    cell.
    """
    member = tl.program_id(2) * (P.to(tl.int64) * C)
    pixel = tl.program_id(0) * BP + tl.arange(0, BP)
    lane = tl.program_id(1) * BC + tl.arange(0, BC)
    live = (lane < C)[None, :]
    at = member + tl.minimum(pixel, P - 1)[:, None] * C + lane[None, :]
    total = load_live(first_ptr + at, live, EVEN)  # (BP, BC)
    total += load_live(second_ptr + at, live, EVEN)
    total += load_live(third_ptr + at, live, EVEN)
    total = gathered(
        total, davg_ptr + member, dmax_ptr + member, dskip_ptr + member, place_ptr + member, base_ptr + member,
        pixel, lane, P, H, W, C, ADD, EVEN,
    )  # fmt: skip
    tl.store(dx_ptr + at, total.to(dx_ptr.dtype.element_ty), mask=(pixel < P)[:, None] & live)
