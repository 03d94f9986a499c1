"""The order of the packed taps is that of the drawing in docs/kernels.md."""

import pytest
import torch

triton = pytest.importorskip("triton")
tl = triton.language
place_of = pytest.importorskip("autopose.kernels._triton.mixed_edge.taps").tap_place
pytestmark = pytest.mark.skipif(not torch.cuda.is_available() and "interpret" not in type(place_of).__name__.lower(),
                                reason="needs a GPU or Triton's interpreter")  # fmt: skip


@triton.jit
def _places(out_ptr):
    tap = tl.arange(0, 64)
    conv, rows, cols = place_of(tap)
    tl.store(out_ptr + tap * 3, conv)
    tl.store(out_ptr + tap * 3 + 1, rows)
    tl.store(out_ptr + tap * 3 + 2, cols)


def test_taps_stand_where_the_figure_has_them():
    from bench.kernels_figures import taps

    out = torch.zeros(64, 3, dtype=torch.int32, device="cuda" if torch.cuda.is_available() else "cpu")
    _places[(1,)](out)
    assert [tuple(row) for row in out[:35].tolist()] == taps()
