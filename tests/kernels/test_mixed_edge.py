"""Mixed edges: the ATen implementation against the float64 reference, and what the public function refuses."""

import math
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import library
from torch.utils.checkpoint import checkpoint

from autopose import kernels
from autopose.kernels import dispatch
from autopose.kernels._aten import convolution
from tests.kernels.cases import CellCase, WideTensors
from tests.numerics import FACTOR, FLOOR, check_close, relative_error

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
CASES = {
    "one edge": CellCase((2, 3, 5, 7)),
    "one affine edge": CellCase((2, 4, 3, 2), affine=True, format="channels_last"),
    "individual cell": CellCase((2, 4, 6, 5), 1, 4),
    "aggregation cell": CellCase((2, 4, 6, 5), 4, 2),
    "affine": CellCase((2, 4, 5, 3), 2, 2, affine=True),
    "channels_last": CellCase((2, 5, 4, 6), 1, 2, format="channels_last"),
    "strided input": CellCase((2, 5, 4, 6), 1, 2, format="strided"),
    "one pixel": CellCase((3, 4, 1, 1), 1, 2, affine=True),
    "one row": CellCase((2, 3, 1, 9), 1, 2),
    "one channel": CellCase((2, 1, 4, 4), 2, 2),
    "130 channels": CellCase((1, 130, 3, 2), 1, 1),
    "batch of one": CellCase((1, 3, 7, 5), 1, 3),
}


def run(case: CellCase, implementation: str, training=True, running=True, leaves=None, **options):
    """Nodes, updated running statistics and all gradients."""
    tables = [t.clone().to(case.mix.dtype) for t in case.running] if running else [None, None]
    nodes = kernels.mixed_edges(
        case.inputs, case.num_nodes, *case.convs, case.mix, **case.norm, running_mean=tables[0], running_var=tables[1],
        training=training, implementation=implementation, **options,
    )  # fmt: skip
    grads = torch.autograd.grad(nodes, leaves or case.leaves, case.grads)
    return [*(node.detach() for node in nodes), *(tables if running else []), *grads]


def assert_exact(found, truth):
    for index, (a, b) in enumerate(zip(found, truth, strict=True)):
        assert a.shape == b.shape
        error = float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))
        assert error <= 1e-12, f"result {index}: relative error {error:.1e}"


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "running statistics"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("device", DEVICES)
def test_equals_reference(device, name, training, poison):
    case = CASES[name].to(device)
    assert_exact(run(case, "aten", training), run(case, "reference", training))


@pytest.mark.parametrize("pixels_per_channel", [0, 10**6], ids=["library", "products"])
def test_both_ways_to_convolve(pixels_per_channel, monkeypatch):
    case = CASES["individual cell"]
    truth = run(case, "reference")
    monkeypatch.setattr(convolution, "PIXELS_PER_CHANNEL", pixels_per_channel)
    assert_exact(run(case, "fused"), truth)
    for weight in case.convs:
        assert weight.is_contiguous()
    turned = case.to()
    turned.convs = [
        w.detach().permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).requires_grad_() for w in case.convs
    ]
    found = run(turned, "fused")
    assert_exact(found, truth)
    gradient = found[-2]
    assert gradient.stride() == turned.convs[2].stride()


@pytest.fixture(params=[True, False], ids=["instructions for bf16", "none"])
def processor(request, monkeypatch):
    """A processor that multiplies bfloat16 matrices, or one that does not; both compute everywhere."""
    monkeypatch.setattr(dispatch, "multiplies_bf16", lambda: request.param)
    return request.param


def assert_close(case: CellCase, dtype, training=True):
    """The fused cell in ``dtype`` errs at most twice as much as the reference does."""
    low = case.to(dtype=dtype)
    truth = run(low.to(dtype=torch.float64), "reference", training)
    theirs, ours = run(low, "reference", training), run(low, "fused", training)
    for index, (found, same, exact) in enumerate(zip(ours, theirs, truth, strict=True)):
        assert found.dtype == dtype
        check_close(f"{dtype} result {index}", found, same, exact, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_error_of_lower_precision(dtype, processor):
    assert_close(CellCase((4, 8, 8, 6), 1, 3), dtype)


HALF_CASES = {
    "individual cell": CellCase((4, 16, 16, 12), 1, 4, format="channels_last"),
    "aggregation cell": CellCase((4, 16, 8, 12), 4, 2, format="channels_last"),
    "affine": CellCase((4, 8, 7, 5), 2, 3, affine=True),
    "one affine edge": CellCase((4, 8, 8, 6), affine=True),
    "strided input": CellCase((4, 5, 6, 7), 1, 2, format="strided"),
    "one row": CellCase((8, 4, 1, 20), 1, 2),
    "two rows": CellCase((8, 4, 2, 20), 1, 2),
    "one column": CellCase((8, 4, 20, 1), 1, 2),
    "two channels": CellCase((8, 2, 12, 10), 1, 2),
    "few pixels": CellCase((4, 16, 6, 4), 1, 3, format="channels_last"),
}


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "running statistics"])
@pytest.mark.parametrize("name", HALF_CASES)
def test_error_in_bfloat16(name, training, processor, poison):
    """The rule of `check_close`, for errors over several draws: one value that a ReLU keeps or drops is a gradient."""
    case, errors = HALF_CASES[name], []
    for seed in range(6):
        low = replace(case, seed=seed).to(dtype=torch.bfloat16)
        truth = run(low.to(dtype=torch.float64), "reference", training)
        results = (run(low, which, training) for which in ("reference", "fused"))
        errors.append([[relative_error(a, b) for a, b in zip(found, truth, strict=True)] for found in results])
    theirs, ours = torch.tensor(errors).square().mean(0).sqrt()
    assert (ours <= FACTOR * theirs + FLOOR[torch.bfloat16]).all(), (theirs, ours)


@pytest.mark.parametrize("taps_first", [False, True])
def test_both_ways_to_a_weight_gradient_in_bfloat16(taps_first, monkeypatch):
    monkeypatch.setattr(dispatch, "multiplies_bf16", lambda: True)
    case, found = CellCase((4, 8, 7, 5), 1, 3).to(dtype=torch.bfloat16), {}
    if taps_first:
        case.convs = [
            w.detach().permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).requires_grad_() for w in case.convs
        ]
    products, multiply = [], convolution.EdgeConvolution._gradient_product
    monkeypatch.setattr(convolution.EdgeConvolution, "_gradient_product", lambda *a: products.append(a) or multiply(*a))
    for pixels_per_channel in (0, 10**6):
        monkeypatch.setattr(convolution, "HALF_PIXELS_PER_CHANNEL", pixels_per_channel)
        found[pixels_per_channel] = run(case, "fused")
        assert bool(products) == bool(pixels_per_channel)
    for convolved, product in zip(*found.values(), strict=True):
        assert product.stride() == convolved.stride()
        assert relative_error(product, convolved) <= 2**-7, "both round sums of a few hundred products once"


def test_bfloat16_is_stored_as_such(monkeypatch):
    """No tensor of the size of a plane is kept or made in float32 where the processor multiplies bfloat16."""
    monkeypatch.setattr(dispatch, "multiplies_bf16", lambda: True)
    case = CellCase((2, 8, 16, 12), 1, 3, format="channels_last").to(dtype=torch.bfloat16)
    with WideTensors(case.inputs[0].numel()) as found:
        run(case, "fused", running=False)
    assert found.calls and not found.wide


def test_gradcheck():
    case = CellCase((2, 2, 3, 2), 1, 2, affine=True)

    def cell(x, conv1, conv3, conv5, mix, weight, bias):
        norm = {"norm_weight": weight, "norm_bias": bias}
        return tuple(kernels.mixed_edges([x], 2, conv1, conv3, conv5, mix, **norm, implementation="fused"))

    assert torch.autograd.gradcheck(cell, case.leaves, fast_mode=True)


@pytest.mark.parametrize("affine", [False, True])
def test_opcheck(affine):
    case = CellCase((2, 2, 3, 4), 2, 2, affine=affine, format="channels_last")
    norm = [case.norm.get(name) for name in ("norm_weight", "norm_bias")]
    arguments = (case.inputs, case.num_nodes, *case.convs, case.mix, *norm, None, None, 1e-5, "")
    library.opcheck(torch.ops.autopose.aten_mixed_cell.default, arguments)


def test_bfloat16_without_gradients_of_convolutions(processor):
    case = HALF_CASES["aggregation cell"].to(dtype=torch.bfloat16)
    truth = run(case, "fused", running=False)
    for tensor in (*case.convs, case.inputs[1]):
        tensor.requires_grad_(False)
    leaves = [*(x for x in case.inputs if x.requires_grad), case.mix]
    found = run(case, "fused", running=False, leaves=leaves)
    kept = [0, 1, 2, 4, 5, 9]
    for a, b in zip(found, [truth[index] for index in kept], strict=True):
        assert torch.equal(a, b)


def test_only_needed_gradients():
    case = CASES["aggregation cell"]
    truth = run(case, "reference")
    frozen = case.to()
    for tensor in (*frozen.convs, frozen.inputs[1]):
        tensor.requires_grad_(False)
    leaves = [x for x in frozen.inputs if x.requires_grad] + [frozen.mix]
    found = run(frozen, "fused", leaves=leaves)
    kept = case.num_nodes + 2
    wanted = [*truth[: kept + 1], *truth[kept + 2 : kept + 4], truth[-1]]
    assert_exact(found, wanted)


def test_unused_nodes_and_no_gradient():
    case = CASES["individual cell"]
    results = []
    for implementation in ("reference", "fused"):
        nodes = kernels.mixed_edges(case.inputs, case.num_nodes, *case.convs, case.mix, implementation=implementation)
        results.append(torch.autograd.grad(nodes[1], [*case.inputs, *case.convs, case.mix], case.grads[1]))
        with torch.no_grad():
            assert not kernels.mixed_edges(case.inputs, case.num_nodes, *case.convs, case.mix)[0].requires_grad
    assert_exact(results[1], results[0])


def test_same_bits_twice():
    case = CellCase((2, 8, 8, 6), 1, 4, dtype=torch.float32)
    for a, b in zip(run(case, "fused"), run(case, "fused"), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_memory_format_of_the_nodes(memory_format):
    case = CASES["individual cell"]
    inputs = [x.detach().contiguous(memory_format=memory_format) for x in case.inputs]
    for node in kernels.mixed_edges(inputs, case.num_nodes, *case.convs, case.mix, implementation="fused"):
        assert node.is_contiguous(memory_format=memory_format)


def test_autocast():
    case = CellCase((2, 4, 6, 5), 1, 2, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nodes = kernels.mixed_edges(case.inputs, 2, *case.convs, case.mix, implementation="fused")
    assert nodes[0].dtype == torch.bfloat16
    grads = torch.autograd.grad(sum(n.float().square().sum() for n in nodes), case.leaves)
    assert all(g.dtype == torch.float32 and g.isfinite().all() for g in grads)


def test_checkpointed_activations():
    case = CASES["individual cell"]

    def cell(x):
        return torch.stack(kernels.mixed_edges([x], 4, *case.convs, case.mix, implementation="fused"))

    plain = cell(case.inputs[0])
    again = checkpoint(cell, case.inputs[0], use_reentrant=False)
    grads = [torch.autograd.grad(y.square().sum(), case.leaves) for y in (plain, again)]
    assert_exact(grads[1], grads[0])


def test_compiles_in_one_graph():
    case = CellCase((2, 4, 6, 5), 1, 3, affine=True)
    mean, var = (t.clone() for t in case.running)

    def network(x, conv1, conv3, conv5, mix, weight, bias):
        options = dict(norm_weight=weight, norm_bias=bias, running_mean=mean, running_var=var)
        mixed = kernels.mixed_edges([x], 3, conv1, conv3, conv5, mix, **options)
        single = kernels.single_edges(mixed[:1], 2, (0, 1, 3), conv1[:1], conv3[:1], None, mix[:3, 0])
        return kernels.resample_sum([*mixed, *single], None, (12, 10)).square().sum()

    eager = [*torch.autograd.grad(network(*case.leaves), case.leaves), mean.clone(), var.clone()]
    mean.copy_(case.running[0])
    var.copy_(case.running[1])
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    assert_exact([*torch.autograd.grad(compiled(*case.leaves), case.leaves), mean, var], eager)


BAD = {
    "no input": (lambda a: a.update(inputs=[]), "at least one input"),
    "empty batch": (lambda a: a.update(inputs=[torch.zeros(0, 3, 4, 4)]), "not empty"),
    "rank": (lambda a: a.update(inputs=[torch.zeros(3, 4, 4)]), r"\(N, C, H, W\)"),
    "integers": (lambda a: a.update(inputs=[torch.zeros(2, 3, 4, 4, dtype=torch.int64)]), "floating-point"),
    "dtype mix": (lambda a: a.update(conv3=a["conv3"].double()), "conv3 of dtype float32"),
    "device mix": (lambda a: a.update(conv1=a["conv1"].to("meta")), "one device"),
    "channels": (lambda a: a.update(inputs=[torch.zeros(2, 5, 4, 4)]), r"conv1 of shape .*\(1, 5, 5, 1, 1\)"),
    "edges": (lambda a: a.update(num_nodes=2), r"\(3, 3, 3, 1, 1\)"),
    "no node": (lambda a: a.update(num_nodes=0), "at least one node"),
    "mix": (lambda a: a.update(mix=torch.ones(1, 5)), r"mix of shape \(1, 6\)"),
    "NaN": (lambda a: a.update(mix=torch.full((1, 6), math.nan)), "without NaN"),
    "half of the affine": (lambda a: a.update(norm_weight=torch.ones(1, 5, 3)), "norm_weight and norm_bias"),
    "no statistics": (lambda a: a.update(training=False), "running_mean and running_var when training=False"),
    "one value": (lambda a: a.update(inputs=[torch.zeros(1, 3, 1, 1)]), "more than one value a channel"),
    "name": (lambda a: a.update(implementation="quick"), "reference, fused, auto"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    change, message = BAD[name]
    arguments = dict(inputs=[torch.zeros(2, 3, 4, 4)], num_nodes=1, mix=torch.ones(1, 6))
    arguments.update({f"conv{k}": torch.zeros(1, 3, 3, k, k) for k in (1, 3, 5)})
    change(arguments)
    with pytest.raises(ValueError, match=message):
        kernels.mixed_edges(**arguments)


def _two_processes(rank: int, path: str) -> None:
    dispatch.multiplies_bf16 = lambda: True
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    for num_nodes, affine in ((2, True), (1, True), (1, False)):
        case = CellCase((4, 3, 4, 5), 1, num_nodes, affine=affine)
        for dtype in (torch.float64, torch.bfloat16):
            _halves_equal_whole(rank, case.to(dtype=dtype), dtype)
    dist.destroy_process_group()


def _halves_equal_whole(rank: int, case: CellCase, dtype: torch.dtype) -> None:
    nodes = case.num_nodes
    truth, same = run(case.to(dtype=torch.float64), "reference"), run(case, "reference")
    part = slice(2 * rank, 2 * rank + 2)
    half = case.to()
    half.inputs = [x.detach()[part].clone().requires_grad_() for x in case.inputs]
    half.grads = [g[part] for g in case.grads]
    found = run(half, "fused", process_group=dist.group.WORLD)
    of_images, of_all = [*range(nodes), nodes + 2], [nodes, nodes + 1, *range(nodes + 3, len(found))]
    for index in of_all[2:]:
        found[index] = found[index].float() if dtype == torch.bfloat16 else found[index]
        dist.all_reduce(found[index])
    for index in of_images:
        truth[index], same[index] = truth[index][part], same[index][part]
    for index in (*of_images, *of_all):
        check_close(f"{dtype} result {index}", found[index], same[index], truth[index], dtype)


def test_statistics_of_two_processes(tmp_path):
    torch.multiprocessing.spawn(_two_processes, (str(tmp_path / "store"),), nprocs=2)
