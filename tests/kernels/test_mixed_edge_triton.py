"""The mixed edge's Triton kernels against the float64 reference: compiled on a GPU, interpreted elsewhere."""

import json
import os
from dataclasses import dataclass

import pytest
import torch
from torch import library

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton")

from autopose.kernels import reference  # noqa: E402
from autopose.kernels._triton.mixed_edge import mixed_edges  # noqa: E402
from autopose.kernels.topology import Topology  # noqa: E402
from tests.numerics import check_close  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
GPU = DEVICE.type == "cuda"
needs_gpu = pytest.mark.gpu


@dataclass(frozen=True)
class Case:
    """A cell (S, M) on inputs (N, C, H, W)."""

    shape: tuple[int, int, int, int]
    cell: tuple[int, int] = (1, 1)
    dtype: torch.dtype = torch.float32
    affine: bool = False
    fixed: bool = False
    layout: str = "contiguous"


CASES = {
    "one edge": Case((2, 16, 5, 6)),
    "one pixel": Case((7, 5, 1, 1)),
    "one column": Case((3, 4, 9, 1)),
    "3 channels, affine": Case((2, 3, 7, 4), affine=True),
    "17 channels, two tiles": Case((2, 17, 5, 9), cell=(1, 2)),
    "66 channels, two blocks": Case((2, 66, 3, 2)),
    "130 channels": Case((2, 130, 3, 3)),
    "individual cell": Case((2, 8, 2, 3), cell=(1, 4)),
    "aggregation cell, affine": Case((2, 6, 2, 3), cell=(4, 2), affine=True),
    "fixed statistics": Case((2, 7, 4, 3), cell=(2, 2), affine=True, fixed=True),
    "channels_last": Case((2, 16, 4, 5), cell=(2, 1), layout="channels_last"),
    "ties of the maximum": Case((2, 5, 6, 5), cell=(1, 2), layout="ties"),
    "not contiguous": Case((2, 16, 4, 5), cell=(2, 1), layout="strided"),
    "bfloat16": Case((2, 16, 5, 4), cell=(1, 2), dtype=torch.bfloat16),
    "bfloat16, one edge": Case((2, 4, 3, 3), dtype=torch.bfloat16),
    "float16": Case((2, 16, 5, 4), cell=(1, 2), dtype=torch.float16, affine=True),
}
SIZES = {16: (64, 48), 32: (32, 24), 64: (16, 12), 128: (8, 6)}
PAPER = {
    f"{str(dtype)[6:]} C{c} {cell[0]}x{cell[1]}": Case((8, c, *SIZES[c]), cell, dtype)
    for dtype, c, cell in (
        *((torch.bfloat16, c, cell) for c in SIZES for cell in ((1, 1), (1, 4))),
        (torch.bfloat16, 32, (4, 2)),
        (torch.float16, 32, (1, 4)),
        *((torch.float32, c, (1, 4)) for c in (16, 32, 64)),
    )
}
"""The paper's shapes; few in float16, because every compilation costs the benchmark's machine a second or more."""

AROUND_LIBRARY = [name for name in PAPER if name.startswith("float32")] + ["bfloat16 C16 1x4", "float16 C32 1x4"]


def _layout(x: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "ties":
        return x.round()
    if layout == "strided":
        return torch.cat([x, x], dim=3)[..., ::2] if x.shape[3] % 2 == 0 else x.flip(3).transpose(2, 3).transpose(2, 3)
    return x.contiguous()


def _problem(case: Case):
    """Leaves (inputs, three convolutions, mix, affine tables), fixed statistics and the nodes' gradients, float64."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    (sources, nodes), channels = case.cell, case.shape[1]
    edges = Topology(sources, nodes).edges
    inputs = [_layout(draw(*case.shape) + 0.2, case.layout) for _ in range(sources)]
    convs = [draw(edges, channels, channels, k, k) * (2 / (channels * k * k)) ** 0.5 for k in (1, 3, 5)]
    mix = draw(edges, 6)
    mix[0, 0] = 0.0
    affine = [1 + 0.3 * draw(edges, 5, channels), draw(edges, 5, channels)] if case.affine else []
    fixed = (draw(edges, 5, channels), 0.5 + draw(edges, 5, channels).abs()) if case.fixed else None
    return [*inputs, *convs, mix, *affine], fixed, [draw(*case.shape) for _ in range(nodes)]


def _rounded(tensors, dtype):
    """Values that every dtype holds exactly, so that all see one problem."""
    return [t.to(dtype).double() for t in tensors]


def _run(case: Case, implementation, problem, dtype):
    """Nodes and every leaf's gradient."""
    leaves, fixed, grads = problem
    leaves = [t.detach().to(DEVICE, dtype).requires_grad_() for t in leaves]
    sources = case.cell[0]
    options = dict(zip(("norm_weight", "norm_bias"), leaves[sources + 4 :], strict=False))
    if fixed is not None:
        fixed = [t.to(DEVICE, dtype) for t in fixed]
    if implementation is mixed_edges:
        nodes, _, _ = mixed_edges(
            leaves[:sources], case.cell[1], *leaves[sources : sources + 4], statistics=fixed, **options
        )
    else:
        if fixed is not None:
            options |= dict(running_mean=fixed[0], running_var=fixed[1], training=False)
        nodes = reference.mixed_edges(leaves[:sources], case.cell[1], *leaves[sources : sources + 4], **options)
    torch.autograd.backward(nodes, [g.to(DEVICE, dtype) for g in grads])
    return [*nodes, *(leaf.grad for leaf in leaves)]


def _names(case: Case):
    sources, nodes = case.cell
    leaves = [*(f"d input {i}" for i in range(sources)), "d conv1", "d conv3", "d conv5", "d mix", "d weight", "d bias"]
    return [*(f"node {i}" for i in range(nodes)), *leaves]


def _compare(case: Case) -> None:
    leaves, fixed, grads = _problem(case)
    problem = (_rounded(leaves, case.dtype), fixed and _rounded(fixed, case.dtype), _rounded(grads, case.dtype))
    truth = _run(case, reference.mixed_edges, problem, torch.float64)
    found = _run(case, mixed_edges, problem, case.dtype)
    theirs = _run(case, reference.mixed_edges, problem, case.dtype)
    for name, *tensors in zip(_names(case), found, theirs, truth, strict=False):
        check_close(name, *tensors, case.dtype)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Uninitialised memory holds NaN (255 where it holds bytes), so that an element nobody wrote is seen."""

    def poison(allocate):
        def allocated(*args, **options):
            fresh = allocate(*args, **options)
            return fresh.fill_(float("nan") if fresh.is_floating_point() else 255)

        return allocated

    monkeypatch.setattr(torch, "empty_like", poison(torch.empty_like))
    monkeypatch.setattr(torch.Tensor, "new_empty", poison(torch.Tensor.new_empty))


@pytest.fixture(autouse=True)
def full_precision():
    """float32 without tf32, in the kernels as in the library's convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


FEWER = (
    "one pixel",
    "3 channels, affine",
    "17 channels, two tiles",
    "individual cell",
    "aggregation cell, affine",
    "bfloat16, one edge",
    "66 channels, two blocks",
)
FEWER = FEWER[:-1] if GPU else FEWER
"""Cases of Triton's own convolutions: slow in the interpreter, and slow to compile."""

TRITON_ONLY = ("66 channels, two blocks", "bfloat16, one edge")
"""Cases that only add to the interpreter's time around the library's convolutions."""


@pytest.mark.parametrize("name", CASES if GPU else [name for name in CASES if name not in TRITON_ONLY])
def test_around_library_convolutions(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    _compare(CASES[name])


@pytest.mark.parametrize("name", FEWER)
def test_with_triton_convolutions(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    _compare(CASES[name])


@pytest.mark.parametrize("case", [Case((1, 17, 3, 4), (2, 2)), Case((3, 16, 5, 3), dtype=torch.bfloat16)], ids=str)
def test_gradients_gathered_by_the_product(case, monkeypatch):
    """As it does for states so large that no program shares its taps."""
    from autopose.kernels._triton.mixed_edge import plan, products

    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    monkeypatch.setattr(products, "input_gradient_splits", lambda elements: 1)
    plan._backward_plan.cache_clear()
    _compare(case)
    plan._backward_plan.cache_clear()


@pytest.mark.parametrize("case", [Case((3, 4, 9, 7)), Case((16, 3, 9, 1))], ids=str)
def test_weight_gradients_of_programs_that_take_several_steps(case, monkeypatch):
    """From step to step places are added up, over the borders of rows and images."""
    from autopose.kernels._triton.mixed_edge import plan, products

    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    monkeypatch.setattr(products, "PROGRAMS", 1)
    plan._backward_plan.cache_clear()
    _compare(case)
    plan._backward_plan.cache_clear()


@needs_gpu
@pytest.mark.parametrize("name", [name for name in PAPER if not name.startswith("float32")])
def test_paper_shapes_in_half_precision(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "triton")
    _compare(PAPER[name])


@needs_gpu
@pytest.mark.parametrize("name", AROUND_LIBRARY)
def test_paper_shapes_around_library_convolutions(name, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    _compare(PAPER[name])


@pytest.mark.parametrize("taps", ["triton", "library"] if GPU else ["library"])
def test_same_bits_twice(taps, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    case = Case((8, 16, 64, 48), (1, 3), torch.bfloat16) if GPU else Case((2, 4, 3, 3), (1, 2))
    problem = _problem(case)
    for first, second in zip(*(_run(case, mixed_edges, problem, case.dtype) for _ in range(2)), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("taps", ["triton", "library"])
def test_frozen_convolutions_get_no_gradient_and_change_nothing_else(taps, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    case = Case((2, 4, 3, 3))
    leaves, _, grads = _problem(case)
    found = []
    for trained in ((True, True, True), (False, False, False), (False, True, False)):
        mine = [t.detach().to(DEVICE, torch.float32).requires_grad_() for t in leaves]
        for conv, wanted in zip(mine[1:4], trained, strict=True):
            conv.requires_grad_(wanted)
        nodes, _, _ = mixed_edges(mine[:1], 1, *mine[1:5])
        nodes[0].backward(grads[0].to(DEVICE, torch.float32))
        assert tuple(conv.grad is not None for conv in mine[1:4]) == trained
        found.append([leaf.grad for leaf in mine])
    for some in found[1:]:
        for grad, of_all in zip(some, found[0], strict=True):
            assert grad is None or torch.equal(grad, of_all)


@pytest.mark.parametrize("taps", ["triton", "library"])
def test_float32_weights_beside_half_precision_states(taps, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    leaves, _, grads = _problem(Case((2, 3, 2, 3)))
    leaves = _rounded(leaves, torch.bfloat16)
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        x = leaves[0].to(DEVICE, torch.bfloat16)
        tables = [t.to(DEVICE, dtype).requires_grad_() for t in leaves[1:5]]
        nodes, _, _ = mixed_edges([x], 1, *tables)
        assert nodes[0].dtype == torch.bfloat16
        nodes[0].backward(grads[0].to(DEVICE, torch.bfloat16))
        found.append([nodes[0].detach(), *(t.grad for t in tables)])
        assert all(t.grad.dtype == dtype for t in tables)
    for half, single in zip(*found, strict=True):
        assert torch.allclose(half.float(), single.float(), rtol=1e-2, atol=1e-3)


def test_statistics_are_those_of_the_batch():
    case = Case((3, 5, 4, 6), (1, 2))
    leaves = [t.to(DEVICE, torch.float32) for t in _problem(case)[0]]
    leaves[0] += 100
    nodes, mean, var = mixed_edges(leaves[:1], 2, *leaves[1:5])
    for edge, x in ((0, leaves[0]), (1, leaves[0]), (2, nodes[0])):
        raw = [torch.conv2d(x.double().relu(), w[edge].double(), padding=w.shape[-1] // 2) for w in leaves[1:4]]
        raw.append(torch.nn.functional.avg_pool2d(x.double(), 3, 1, 1, count_include_pad=False))
        raw.append(torch.nn.functional.max_pool2d(x.double(), 3, 1, 1))
        for op, y in enumerate(raw):
            assert torch.allclose(mean[edge, op].double(), y.mean((0, 2, 3)), rtol=1e-5, atol=1e-5)
            assert torch.allclose(var[edge, op].double(), y.var((0, 2, 3), unbiased=False), rtol=1e-3, atol=1e-6)
    assert not mean.requires_grad and not var.requires_grad


def test_not_a_number_goes_where_pytorch_sends_it(monkeypatch):
    """Fixed statistics keep a NaN local: the same outputs are NaN, and its pixel takes the maximum's gradient."""
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    case = Case((1, 2, 6, 7), fixed=True)
    leaves, fixed, grads = _problem(case)
    leaves[0][0, 1, 2, 3] = float("nan")
    leaves[0][0, 1, 3, 4] = float("nan")
    found = _run(case, mixed_edges, (leaves, fixed, grads), torch.float32)
    truth = _run(case, reference.mixed_edges, (leaves, fixed, grads), torch.float32)
    assert torch.equal(found[0].isnan(), truth[0].isnan())
    assert torch.allclose(found[1], truth[1], rtol=1e-4, atol=1e-5, equal_nan=True)


def test_the_benchmark_checks_the_mix_kernel_by_itself():
    from bench.cases import Case as BenchCase
    from bench.providers import Provider, Truth

    truth = Truth(BenchCase("mix", "3", "forward", 2), DEVICE.type)
    for half in (False, True):
        name = "bfloat16" if half else "float32"
        found = truth._errors(Provider(name, "fused", half=half), torch.bfloat16 if half else torch.float32)
        assert found[0] < (1e-2 if half else 1e-6), f"{name}: {found}"


@pytest.mark.parametrize("product", ["forward", "input", "weight"])
def test_tuning_checks_and_times_a_product_and_keeps_the_table(product):
    from autopose.kernels._triton.launch import tile_table
    from bench import tune
    from bench.products import committed

    before, own = json.dumps(tile_table()), committed(product, 16)
    items = [dict(product=product, channels=16, edges=4, setting=own | {"columns": columns}) for columns in (64, 32)]
    checked = [json.loads(line)["status"] for line in tune.check(items, rehearse=True)]
    timed = [json.loads(line) for line in tune.clock(items[:1], rehearse=True)]
    assert checked == ["right", "right"] and timed[0]["status"] == "timed" and timed[0]["ms"] > 0
    assert json.dumps(tile_table()) == before


@pytest.mark.parametrize(
    ("shape", "nodes", "message"),
    [
        ((1, 2**20, 64, 48, 1), 1, "fewer than 2\\^31 elements, got 3221225472: use a smaller batch"),
        ((1, 2**20, 64, 24, 1), 1, "at most 2\\^30 pixels, got 1610612736: use a smaller batch"),
        ((8, 2**17, 64, 48, 4), 2, "fewer than 2\\^31 moments of its edges, got .*: use a smaller batch"),
        ((1, 1, 2, 2, 4096), 4, "fewer than 2\\^31 weights of a source's edges, got 2348810240: use fewer channels"),
    ],
)
def test_more_than_the_kernels_can_number_is_refused(shape, nodes, message):
    from autopose.kernels._triton.mixed_edge import plan

    vast = torch.zeros(1, device=DEVICE).expand(shape)
    with pytest.raises(ValueError, match=message):
        plan.forward(vast, (vast,) * 3, vast, (None, None), (None, None), nodes, 1e-5, None)


def _small():
    leaves, _, _ = _problem(Case((2, 3, 2, 2), affine=True))
    stacked = leaves[0].permute(0, 2, 3, 1).contiguous().unsqueeze(0)
    return [t.to(DEVICE, torch.float32).requires_grad_() for t in (stacked, *leaves[1:])]


def test_operator_is_registered_whole(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    library.opcheck(torch.ops.autopose.mixed_cell.default, (*_small(), None, None, 1, 1e-5, ""))


def test_compiled_graph_holds_the_operators(monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    leaves = _small()

    def cell(x, *rest):
        return torch.stack(mixed_edges(list(x.permute(0, 1, 4, 2, 3).unbind(0)), 1, *rest[:4])[0]).square().sum()

    eager = torch.autograd.grad(cell(*leaves), leaves[:5])
    compiled = torch.autograd.grad(torch.compile(cell, backend="aot_eager", fullgraph=True)(*leaves), leaves[:5])
    for a, b in zip(eager, compiled, strict=True):
        assert torch.equal(a, b)


def test_recomputed_in_backward(monkeypatch):
    from torch.utils.checkpoint import checkpoint

    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    leaves = _small()

    def cell(x, *rest):
        return torch.stack(mixed_edges(list(x.permute(0, 1, 4, 2, 3).unbind(0)), 1, *rest[:4])[0]).square().sum()

    plain = torch.autograd.grad(cell(*leaves), leaves[:5])
    again = torch.autograd.grad(checkpoint(cell, *leaves, use_reentrant=False), leaves[:5])
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a, b)


@needs_gpu
def test_captured_in_a_graph():
    case = Case((4, 16, 16, 12), (1, 2), torch.bfloat16)
    leaves, _, grads = _problem(case)
    leaves = [t.to(DEVICE, case.dtype).requires_grad_() for t in leaves]
    grads = [g.to(DEVICE, case.dtype) for g in grads]

    def step():
        nodes, _, _ = mixed_edges(leaves[:1], 2, *leaves[1:5])
        return [*nodes, *torch.autograd.grad(nodes, leaves, grads)]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager = step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    for a, b in zip(eager, captured, strict=True):
        assert torch.equal(a, b)
