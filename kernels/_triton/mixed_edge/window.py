"""What the mixed edge's Triton kernels share: places of pixels and edges, loads, and 3x3 windows of a state (P, C)."""

import triton
import triton.language as tl

from ...topology import NUM_CONVS, NUM_NORMED, NUM_OPS, NUM_POOLS, NUM_TAPS

# Constants of the kernels. They stand to the right of run-time values: Triton's interpreter multiplies from the left.
CONVS = tl.constexpr(NUM_CONVS)
POOLS = tl.constexpr(NUM_POOLS)
NORMED = tl.constexpr(NUM_NORMED)
OPS = tl.constexpr(NUM_OPS)
TAPS = tl.constexpr(NUM_TAPS)
MOMENTS = tl.constexpr(2)  # of a part: the mean, and the sum of squared deviations
FOLDED = tl.constexpr(2)  # of a normalised operation: the factor and the offset that BN and mix become
SUMS = tl.constexpr(NUM_NORMED + 2)  # of g, of g * (y - mu) for every normalised operation, of g * x
TERMS = tl.constexpr(3)  # A, B and D
POINTWISE = tl.constexpr(NUM_TAPS - 1)  # the packed tap of the 1x1 convolution
MASKED = tl.constexpr(16)  # added to the maximum's place in a window where ReLU lets nothing through


@triton.jit
def pixel_place(pixel, H, W):
    """Row and column of a pixel index in its image."""
    place = pixel.to(tl.uint32, bitcast=True)
    line = place // W.to(tl.uint32)
    return (line % H.to(tl.uint32)).to(tl.int32), (place - line * W.to(tl.uint32)).to(tl.int32)


@triton.jit
def edge_number(source, slot, S):
    """Number of the edge from ``source`` to the ``slot``-th node that it feeds (edges are numbered node by node)."""
    node = tl.maximum(source - S + 1, 0) + slot
    return node * S + node * (node - 1) // 2 + source


@triton.jit
def last_of(counter_ptr, programs):
    """Whether this program is the last of ``programs`` to come to a counter; it sees what the others stored.

    What they stored it must load with ``cache_modifier=".cg"``, from where all multiprocessors see it. A counter is 0
    before every launch, and the last to come leaves it so: nobody comes to it after that one.
    """
    tl.debug_barrier()  # all threads have stored when the one that counts says so
    last = tl.atomic_add(counter_ptr, 1, sem="acq_rel", scope="gpu") == programs - 1
    tl.store(counter_ptr, 0, mask=last)
    return last


@triton.jit
def rectify(x):
    """max(x, 0); NaN stays NaN."""
    return tl.where(x <= 0.0, 0.0, x)


@triton.jit
def multiply(a, b, acc, UPCAST: tl.constexpr, PRECISION: tl.constexpr):
    """acc + a @ b."""
    if UPCAST:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision=PRECISION)


@triton.jit
def pointwise_weight(packed_ptr, edge, lane, live, C):
    """Packed weights (C_in, C_out) of an edge's 1x1 convolution; the lanes cover all channels."""
    place = packed_ptr + (edge.to(tl.int64) * TAPS + POINTWISE) * C * C + lane[:, None] * C + lane[None, :]
    return tl.load(place, mask=live[:, None] & live[None, :], other=0.0)  # (lanes, lanes)


@triton.jit
def pointwise(centre, weight, live, UPCAST: tl.constexpr, PRECISION: tl.constexpr):
    """The raw output of a 1x1 convolution, made anew from pixels of x: (pixels, lanes), float32."""
    active = tl.where(live[None, :], rectify(centre), 0.0).to(weight.dtype)
    return multiply(active, weight, tl.zeros(centre.shape, tl.float32), UPCAST, PRECISION)


@triton.jit
def load_live(ptr, live, EVEN: tl.constexpr):
    """Values in float32, undefined where not ``live``. EVEN: all lanes are; a mask costs an instruction a register."""
    value = tl.load(ptr) if EVEN else tl.load(ptr, mask=live)  # of ptr's shape
    return value.to(tl.float32)


@triton.jit
def window_size(row, col, H, W):
    """Pixels of a 3x3 window that lie inside the image."""
    rows = tl.minimum(row + 2, H) - tl.maximum(row - 1, 0)
    cols = tl.minimum(col + 2, W) - tl.maximum(col - 1, 0)
    return (rows * cols).to(tl.float32)


@triton.jit
def pool_window(x_ptr, pixel, row, col, lane, live, H, W, C, EVEN: tl.constexpr):
    """Average over the pixels inside, maximum and centre of 3x3 windows around pixels of the plane: (pixels, lanes).

    A place outside the image is read from the nearest one inside: that one lies in the window too, so it cannot change
    the maximum, and in the sum it weighs nothing. Undefined where not live.
    """
    shape: tl.constexpr = (pixel.shape[0], lane.shape[0])
    total = tl.zeros(shape, tl.float32)
    best = tl.full(shape, float("-inf"), tl.float32)
    centre = tl.zeros(shape, tl.float32)
    for tap in tl.static_range(9):
        dh = tap // 3 - 1
        dw = tap % 3 - 1
        near_h = tl.minimum(tl.maximum(row + dh, 0), H - 1) - row
        near_w = tl.minimum(tl.maximum(col + dw, 0), W - 1) - col
        place = (pixel + near_h * W + near_w)[:, None] * C + lane[None, :]
        value = load_live(x_ptr + place, live[None, :], EVEN)  # (pixels, lanes)
        inside = (near_h == dh) & (near_w == dw)
        total += value * inside.to(tl.float32)[:, None]
        best = tl.maximum(best, value, propagate_nan=tl.PropagateNan.ALL)
        if tap == 4:
            centre = value
    return total * (1.0 / window_size(row, col, H, W))[:, None], best, centre


@triton.jit
def pool_window_place(x_ptr, pixel, row, col, lane, valid, H, W, C):
    """As `pool_window`, and the maximum's place in the window (0..8).

    The place is PyTorch's: the first of equals in scan order, and the last NaN where there is one.
    """
    total = tl.zeros(valid.shape, tl.float32)
    best = tl.full(valid.shape, float("-inf"), tl.float32)
    place = tl.full(valid.shape, 9, tl.int32)
    centre = tl.zeros(valid.shape, tl.float32)
    for tap in tl.static_range(9):
        dh = tap // 3 - 1
        dw = tap % 3 - 1
        inside = (row + dh >= 0) & (row + dh < H) & (col + dw >= 0) & (col + dw < W)
        mask = inside[:, None] & valid
        value = tl.load(x_ptr + (pixel + dh * W + dw)[:, None] * C + lane[None, :], mask=mask, other=0.0)
        value = value.to(tl.float32)
        total += value
        take = mask & ((value > best) | (value != value) | (place == 9))
        best = tl.where(take, value, best)
        place = tl.where(take, tap, place)
        if tap == 4:
            centre = value
    return total * (1.0 / window_size(row, col, H, W))[:, None], best, centre, place
