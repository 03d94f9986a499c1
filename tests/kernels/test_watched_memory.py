"""The checker of interpreted kernels' memory finds what it is for."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
triton = pytest.importorskip("triton")
import triton.language as tl  # noqa: E402

from autopose.kernels import dispatch  # noqa: E402
from autopose.kernels._triton.mixed_edge.window import last_of  # noqa: E402
from tests.kernels.watched_memory import checked_memory  # noqa: E402

pytestmark = pytest.mark.skipif(not dispatch.interpreting(), reason="only interpreted kernels can be watched")


@triton.jit
def copy_kernel(x_ptr, out_ptr, N, x_shift, out_shift, stride, again, B: tl.constexpr, MASKED: tl.constexpr):
    """Programs copy blocks of B of N elements; loads and stores may be shifted, stores strided, the result reread."""
    at = tl.program_id(0) * B + tl.arange(0, B)
    live = at < N
    value = tl.load(x_ptr + at + x_shift, mask=live) if MASKED else tl.load(x_ptr + at + x_shift)
    tl.store(out_ptr + at // stride + out_shift, value, mask=live)
    if again:
        tl.load(out_ptr + at // stride + out_shift, mask=live)


def copy(x, out, x_shift=0, out_shift=0, stride=1, again=0, block=4, masked=True):
    with checked_memory():
        copy_kernel[(triton.cdiv(10, block),)](x, out, 10, x_shift, out_shift, stride, again, B=block, MASKED=masked)


def test_a_right_kernel_passes():
    x, out = torch.arange(10.0), torch.zeros(10)
    copy(x, out)
    assert torch.equal(x, out)
    copy(x, x)


@pytest.mark.parametrize(
    "fault,options",
    [
        ("load addresses outside of its tensors", dict(x_shift=1)),
        ("load addresses outside of its tensors", dict(x_shift=-1)),
        ("load addresses outside of its tensors", dict(masked=False)),
        ("store addresses outside of its tensors", dict(out_shift=1)),
        ("stores two lanes to one address", dict(stride=2)),
        ("stores twice to one address", dict(stride=12, block=1)),
        ("loads what the launch has stored", dict(again=1)),
    ],
)
def test_a_fault_is_found(fault, options):
    with pytest.raises(Exception, match=f"copy_kernel, program .*{fault}"):
        copy(torch.zeros(10), torch.zeros(10), **options)


@pytest.mark.parametrize("shift,fault", [(4, "stores to what another program loads"), (-4, "loads what the launch")])
def test_an_order_of_programs_that_matters_is_found(shift, fault):
    """Programs in place, each four elements behind or ahead of another."""
    x = torch.zeros(18)
    with pytest.raises(Exception, match=fault):
        copy(x[4:], x[4:], x_shift=shift)


@triton.jit
def again_kernel(count_ptr):
    """Three programs come to a counter of two."""
    last_of(count_ptr, 2)


def test_a_program_that_comes_to_a_counter_after_the_last_is_found():
    count = torch.zeros(1, dtype=torch.int32)
    with checked_memory():
        again_kernel[(2,)](count)
        assert count.item() == 0
        with pytest.raises(Exception, match="again_kernel, program 2: counts where the launch has stored"):
            again_kernel[(3,)](count)


@triton.jit
def total_kernel(x_ptr, part_ptr, count_ptr, out_ptr, COUNTED: tl.constexpr):
    """Four programs store a part each; the last to come, or (not COUNTED) the last of the grid, sums them."""
    program = tl.program_id(0)
    tl.store(part_ptr + program, tl.load(x_ptr + program))
    last = last_of(count_ptr, 4) if COUNTED else program == 3
    if last:
        tl.store(out_ptr, tl.sum(tl.load(part_ptr + tl.arange(0, 4)), axis=0))


def test_the_last_to_come_to_a_counter_may_load_what_the_others_stored():
    x, part, out = torch.arange(4.0), torch.zeros(4), torch.zeros(1)
    for counted in (True, False):
        with checked_memory():
            arguments = (x, part, torch.zeros(1, dtype=torch.int32), out, counted)
            if counted:
                total_kernel[(4,)](*arguments)
                assert out.item() == 6
            else:
                with pytest.raises(Exception, match="total_kernel, program 3: loads what the launch has stored"):
                    total_kernel[(4,)](*arguments)
