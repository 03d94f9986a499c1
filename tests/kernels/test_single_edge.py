"""One operation an edge: the batched implementation against the float64 reference."""

import pytest
import torch

from autopose import kernels
from tests.kernels.cases import CellCase
from tests.numerics import check_close

OPS = {
    "one of each": (0, 1, 2, 3, 4, 5, 0, 1, 2, 3),
    "all 3x3": (1,) * 10,
    "all average": (3,) * 10,
    "all identity": (5,) * 10,
    "pools shared": (4, 4, 3, 4, 3, 3, 4, 4, 3, 4),
    "mostly 5x5": (2, 2, 1, 2, 5, 2, 2, 0, 2, 2),
}


def arguments(ops, shape=(2, 4, 6, 5), mix=False, affine=False, dtype=torch.float64, seed=0):
    """Inputs, convolutions, mixing weights and tables of a cell with one input and four nodes."""
    case = CellCase(shape, 1, 4, dtype=dtype, affine=affine, seed=seed)
    convs = [w.detach()[: ops.count(k)].requires_grad_() if k in ops else None for k, w in enumerate(case.convs)]
    norm = {name: t.detach()[:, 0].requires_grad_() for name, t in case.norm.items()}
    return case, convs, case.mix.detach()[:, 0].requires_grad_() if mix else None, norm


def run(ops, implementation, training=True, running=True, **options):
    case, convs, mix, norm = arguments(ops, **options)
    tables = [t[:, 0].to(case.mix.dtype).clone() for t in case.running] if running else [None, None]
    nodes = kernels.single_edges(
        case.inputs, 4, ops, *convs, mix, **norm, running_mean=tables[0], running_var=tables[1], training=training,
        implementation=implementation,
    )  # fmt: skip
    leaves = [t for t in (*case.inputs, *convs, mix, *norm.values()) if t is not None]
    grads = torch.autograd.grad(nodes, leaves, case.grads, allow_unused=True, materialize_grads=True)
    return [*(node.detach() for node in nodes), *(tables if running else []), *grads]


@pytest.mark.parametrize("training", [True, False], ids=["batch statistics", "running statistics"])
@pytest.mark.parametrize("mix,affine", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("name", OPS)
def test_equals_reference(name, mix, affine, training, poison):
    options = dict(training=training, mix=mix, affine=affine)
    found, truth = (run(OPS[name], implementation, **options) for implementation in ("fused", "reference"))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 4, 12, 10), (2, 8, 5, 7), (2, 8, 3, 2)], ids=["light", "5x5 heavy", "heavy"])
@pytest.mark.parametrize("name", ["all 3x3", "mostly 5x5"])
def test_weights_lighter_and_heavier_than_activations(name, shape, channels_last):
    results = []
    for implementation in ("fused", "reference"):
        case, convs, mix, _ = arguments(OPS[name], shape=shape, mix=True)
        inputs = case.inputs
        if channels_last:
            inputs = [x.detach().contiguous(memory_format=torch.channels_last).requires_grad_() for x in inputs]
        nodes = kernels.single_edges(inputs, 4, OPS[name], *convs, mix, implementation=implementation)
        assert all(node.stride() == inputs[0].stride() for node in nodes)
        # As the cell does: gradients arrive as slices.
        loss = (torch.cat(nodes, 1) * torch.cat(case.grads, 1)).sum()
        leaves = [t for t in (*inputs, *convs, mix) if t is not None]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        results.append([*(node.detach() for node in nodes), *grads])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (2, 1, 5, 7), (1, 130, 3, 2)], ids=str)
def test_odd_sizes(shape):
    found, truth = (run(OPS["one of each"], name, shape=shape, running=False) for name in ("fused", "reference"))
    for a, b in zip(found, truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_error_of_lower_precision():
    for dtype in (torch.float32, torch.bfloat16):
        case, convs, _, _ = arguments(OPS["one of each"], dtype=dtype)
        results = []
        for implementation, kind in (("fused", dtype), ("reference", dtype), ("reference", torch.float64)):
            inputs, weights = [x.detach().to(kind) for x in case.inputs], [w.detach().to(kind) for w in convs]
            run_in = kernels.single_edges(inputs, 4, OPS["one of each"], *weights, implementation=implementation)
            results.append(run_in)
        for found, same, truth in zip(*results, strict=True):
            check_close(str(dtype), found, same, truth, dtype)


def test_equals_mixed_edges_with_one_hot_weights():
    ops = OPS["one of each"]
    case, convs, _, _ = arguments(ops)
    mix = torch.nn.functional.one_hot(torch.tensor(ops), 6).double()
    stacked = [torch.zeros_like(w) for w in case.convs]
    for kind, rows in enumerate(convs):
        stacked[kind][[edge for edge, op in enumerate(ops) if op == kind]] = rows.detach()
    single = kernels.single_edges(case.inputs, 4, ops, *convs, implementation="fused")
    mixed = kernels.mixed_edges(case.inputs, 4, *stacked, mix, implementation="fused")
    for a, b in zip(single, mixed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_identity_rows_keep_their_statistics():
    case, convs, _, _ = arguments(OPS["one of each"])
    mean, var = torch.zeros(10, 4).double(), torch.ones(10, 4).double()
    kernels.single_edges(case.inputs, 4, OPS["one of each"], *convs, running_mean=mean, running_var=var)
    changed = (mean != 0).any(1)
    assert changed.tolist() == [op != 5 for op in OPS["one of each"]]


def test_gradcheck():
    case, convs, mix, _ = arguments((0, 1, 3), shape=(2, 2, 3, 2), mix=True)

    def cell(x, conv1, conv3, mix):
        return tuple(kernels.single_edges([x], 2, (0, 1, 3), conv1, conv3, None, mix[:3], implementation="fused"))

    assert torch.autograd.gradcheck(cell, (case.inputs[0], convs[0], convs[1], mix), fast_mode=True)


@pytest.mark.parametrize(
    "changes,message",
    [
        (dict(ops=(0, 1)), "one operation for each of 1 edges, got 2"),
        (dict(ops=(7,)), "operations 0-5"),
        (dict(conv1=None), "conv1 of shape .* got None"),
        (dict(mix=torch.full((1,), float("nan"))), "without NaN"),
        (dict(implementation="triton"), "single_edge=triton cannot run on cpu: it has no Triton kernels"),
    ],
)
def test_refused(changes, message):
    given = dict(ops=(0,), conv1=torch.zeros(1, 3, 3, 1, 1), conv3=None, conv5=None) | changes
    with pytest.raises(ValueError, match=message):
        kernels.single_edges([torch.zeros(2, 3, 4, 4)], 1, **given)
