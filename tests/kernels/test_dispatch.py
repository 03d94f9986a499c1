"""Which implementation runs, and what is said where none can."""

import pytest
import torch

from autopose.kernels import KernelChoice, describe, dispatch, mixed_edges, resample_sum

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch):
    """Pretends a GPU of a compute capability."""

    def pretend(capability):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Some GPU")

    return pretend


def test_choice_refuses_unknown_names():
    with pytest.raises(ValueError, match="kernels.resample_sum must be one of reference, fused, auto.* got 'quick'"):
        KernelChoice(resample_sum="quick")
    assert KernelChoice.all("fused") == KernelChoice("fused", "fused", "fused")


@pytest.mark.parametrize("requested", ["auto", "fused"])
@pytest.mark.parametrize("operator", dispatch.OPERATORS)
def test_cpu(operator, requested):
    assert dispatch.resolve(operator, requested, CPU, torch.float64).implementation == "aten"


@pytest.mark.parametrize(
    "operator,wanted", [("mixed_edge", "triton"), ("resample_sum", "triton"), ("single_edge", "aten")]
)
def test_cuda(operator, wanted, gpu):
    gpu((9, 0))
    for requested in ("auto", "fused"):
        assert dispatch.resolve(operator, requested, CUDA, torch.bfloat16).implementation == wanted


def test_reference_everywhere(gpu):
    gpu((5, 0))
    for operator in dispatch.OPERATORS:
        assert dispatch.resolve(operator, "reference", CUDA, torch.float64).implementation == "reference"


@pytest.mark.parametrize("operator", ["mixed_edge", "resample_sum"])
@pytest.mark.parametrize(
    "capability,dtype,message",
    [
        ((6, 1), torch.float32, "needs compute capability 7.5, Some GPU has 6.1"),
        ((7, 5), torch.bfloat16, "bfloat16 needs compute capability 8.0"),
        ((9, 0), torch.float64, "float32, bfloat16 or float16, not float64"),
    ],
)
def test_fused_says_what_is_missing(operator, capability, dtype, message, gpu):
    gpu(capability)
    with pytest.raises(ValueError, match=f"kernels.{operator}=fused cannot run on cuda: .*{message}.*set kernels"):
        dispatch.resolve(operator, "fused", CUDA, dtype)
    found = dispatch.resolve(operator, "auto", CUDA, dtype)
    assert found.implementation == "aten" and "because" in found.reason


def test_no_triton(gpu, monkeypatch):
    gpu((9, 0))
    monkeypatch.setattr(dispatch, "HAS_TRITON", False)
    with pytest.raises(ValueError, match="package triton is not installed; install it or set kernels.mixed_edge"):
        dispatch.resolve("mixed_edge", "fused", CUDA, torch.float32)


def test_triton_on_the_cpu_needs_the_interpreter(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ValueError, match="TRITON_INTERPRET=1"):
        dispatch.resolve("mixed_edge", "triton", CPU, torch.float32)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert dispatch.resolve("mixed_edge", "triton", CPU, torch.float32).implementation == "triton"


def test_one_line_an_operator():
    lines = describe(KernelChoice(mixed_edge="reference"), CPU, torch.float32)
    assert len(lines) == 3
    assert lines[0] == "kernels.mixed_edge=reference: reference (asked for)"
    assert lines[2].startswith("kernels.resample_sum=auto: aten (restructured")


def mixed_loss(x, mix, implementation):
    convs = [torch.ones(mix.shape[0], 3, 3, k, k, device=x.device) for k in (1, 3, 5)]
    return sum(node.square().sum() for node in mixed_edges([x], 2, *convs, mix, implementation=implementation))


def resample_loss(x, weights, implementation):
    return resample_sum([x, x], weights, (2, 2), implementation=implementation).square().sum()


@pytest.mark.parametrize(
    "loss,shape,operator,implementation",
    [
        (mixed_loss, (3, 6), "mixed_edge", "aten"),
        (mixed_loss, (3, 6), "mixed_edge", "triton"),
        (resample_loss, (2,), "resample_sum", "triton"),
    ],
)
def test_second_derivatives_are_refused_and_the_reference_has_them(loss, shape, operator, implementation):
    if implementation == "triton":
        pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(2, 3, 4, 4, device=device)
    weights = torch.rand(shape, device=device, requires_grad=True)
    with pytest.raises(RuntimeError, match=f"create_graph=True needs kernels.{operator}=reference"):
        torch.autograd.grad(loss(x, weights, implementation), weights, create_graph=True)
    (first,) = torch.autograd.grad(loss(x, weights, "reference"), weights, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), weights)
    assert second.abs().sum() > 0
