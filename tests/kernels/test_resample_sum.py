"""Cross-scale resample-and-sum: ATen and Triton (compiled on a GPU, interpreted elsewhere) against the reference."""

import pytest
import torch
from torch import library

from autopose import kernels
from tests.numerics import check_close

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
needs_gpu = pytest.mark.gpu

CASES = {
    "one source": ([(4, 6)], (4, 6), 3),
    "four scales, to the finest": ([(8, 8), (4, 4), (2, 2), (1, 1)], (8, 8), 5),
    "four scales, to the coarsest": ([(8, 8), (4, 4), (2, 2), (1, 1)], (1, 1), 5),
    "odd sizes": ([(3, 5), (6, 10), (12, 20)], (6, 10), 7),
    "one pixel": ([(1, 1), (4, 4)], (1, 1), 2),
    "130 channels": ([(2, 3), (4, 6)], (4, 6), 130),
    "nine sources": ([(2, 2)] * 9, (4, 4), 2),
}


def make(name, dtype=torch.float64, weighted=True, channels_last=False, device="cpu"):
    """Sources, weights and the result's gradient."""
    shapes, size, channels = CASES[name]
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, channels, *shape, generator=generator, dtype=torch.float64) for shape in shapes]
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    inputs = [x.to(device, dtype).contiguous(memory_format=memory_format).requires_grad_() for x in inputs]
    weights = torch.rand(len(shapes), generator=generator, dtype=torch.float64).to(device, dtype)
    grad = torch.randn(2, channels, *size, generator=generator, dtype=torch.float64).to(device, dtype)
    return inputs, weights.requires_grad_() if weighted else None, size, grad


def run(inputs, weights, size, grad, implementation):
    out = kernels.resample_sum(inputs, weights, size, implementation=implementation)
    leaves = [*inputs, *([] if weights is None else [weights])]
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def widen(case):
    inputs, weights, size, grad = case
    inputs = [x.detach().double().requires_grad_() for x in inputs]
    weights = None if weights is None else weights.detach().double().requires_grad_()
    return inputs, weights, size, grad.double()


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "plain"])
@pytest.mark.parametrize("channels_last", [True, False], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize("name", CASES)
def test_aten_equals_reference(name, channels_last, weighted, poison):
    case = make(name, weighted=weighted, channels_last=channels_last)
    for a, b in zip(run(*case, "aten"), run(*case, "reference"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CASES)
def test_triton_error(name, dtype, poison):
    pytest.importorskip("triton")
    for channels_last in (True, False):
        case = make(
            name, dtype, weighted=channels_last or dtype == torch.float32, channels_last=channels_last, device=DEVICE
        )
        found, same, truth = run(*case, "triton"), run(*case, "reference"), run(*widen(case), "reference")
        for index, (a, b, c) in enumerate(zip(found, same, truth, strict=True)):
            check_close(f"{name} result {index}", a, b, c, dtype)


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_triton_error_at_the_papers_shapes(dtype):
    shapes, channels = [(64, 48), (32, 24), (16, 12), (8, 6)], (16, 32, 64, 128)
    for size, c in zip(shapes, channels, strict=True):
        generator = torch.Generator(DEVICE).manual_seed(0)
        inputs = [torch.randn(16, c, *s, generator=generator, device=DEVICE, dtype=dtype) for s in shapes]
        inputs = [x.contiguous(memory_format=torch.channels_last).requires_grad_() for x in inputs]
        weights = torch.rand(4, generator=generator, device=DEVICE).to(dtype).requires_grad_()
        case = (inputs, weights, size, torch.randn(16, c, *size, generator=generator, device=DEVICE).to(dtype))
        results = zip(run(*case, "triton"), run(*case, "reference"), run(*widen(case), "reference"), strict=True)
        for index, (a, b, c64) in enumerate(results):
            check_close(f"to {size} result {index}", a, b, c64, dtype)


def test_same_bits_twice():
    pytest.importorskip("triton")
    case = make("four scales, to the finest", torch.float32, device=DEVICE)
    for a, b in zip(run(*case, "triton"), run(*case, "triton"), strict=True):
        assert torch.equal(a, b)


def test_gradcheck():
    inputs, weights, size, _ = make("odd sizes")

    def op(weights, *inputs):
        return kernels.resample_sum(inputs, weights, size, implementation="aten")

    assert torch.autograd.gradcheck(op, (weights, *inputs), fast_mode=True)


def test_opcheck():
    pytest.importorskip("triton")
    inputs, weights, size, _ = make("one pixel", torch.float32, channels_last=True, device=DEVICE)
    library.opcheck(torch.ops.autopose.resample_sum.default, (inputs, weights, list(size)))


def test_mixed_formats_and_autocast():
    inputs, weights, size, grad = make("odd sizes", torch.float32)
    inputs[0] = inputs[0].detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    for a, b in zip(
        run(inputs, weights, size, grad, "aten"), run(inputs, weights, size, grad, "reference"), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = kernels.resample_sum(inputs, weights, size, implementation="aten")
    assert out.dtype == torch.bfloat16
    assert torch.autograd.grad(out.float().sum(), inputs[0])[0].dtype == torch.float32


@pytest.mark.parametrize(
    "shapes,size,message",
    [
        ([], (4, 4), "at least one input"),
        ([(2, 3, 4, 4), (2, 5, 4, 4)], (4, 4), "one batch and channel count"),
        ([(2, 3, 4, 4)], (12, 12), r"powers of two: input 0 is \(4, 4\), the result \(12, 12\)"),
        ([(2, 3, 4, 4)], (6, 6), "sizes that divide"),
        ([(2, 3, 4, 4)], (8, 4), "one scale for height and width"),
        ([(2, 3, 4, 4)], (0, 4), "positive"),
        ([(0, 3, 4, 4)], (4, 4), "not empty"),
    ],
)
def test_refused(shapes, size, message):
    with pytest.raises(ValueError, match=message):
        kernels.resample_sum([torch.zeros(shape) for shape in shapes], None, size)


def test_refused_weights():
    x = torch.zeros(2, 3, 4, 4)
    for weights, message in (
        (torch.ones(2), r"weights of shape \(1,\)"),
        (torch.tensor([float("nan")]), "without NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            kernels.resample_sum([x], weights, (4, 4))


@pytest.mark.parametrize("shape", [(2**20, 1, 64, 64), (2**31 - 1023, 1, 1, 1)], ids=["twice", "in the last tile"])
def test_more_pixels_than_the_triton_kernels_can_number_are_refused(shape):
    kernel = pytest.importorskip("autopose.kernels._triton.resample_sum")
    vast = torch.zeros(1).expand(shape)
    with pytest.raises(ValueError, match="at most 2147482624 pixels a source, got .*: use a smaller batch"):
        kernel.forward([vast], None, shape[2:])
