"""Statistics over several processes: two halves of a batch give what the whole batch gives."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

pytest.importorskip("triton")


def _cell(inputs, tables, grads, group=None):
    """Output and input gradients, gradients of the tables, statistics of a whole cell; inputs (N, S, C, H, W)."""
    from autopose.kernels._triton.compress import compress
    from autopose.kernels._triton.mixed_edge import stacked_nodes

    inputs, *leaves = [t.detach().clone().requires_grad_() for t in (inputs, *tables)]
    (nodes, counters), *statistics = stacked_nodes(
        inputs.unbind(1), 1, *leaves[:4], norm_weight=leaves[4], norm_bias=leaves[5], process_group=group
    )
    options = dict(norm_weight=leaves[7], norm_bias=leaves[8], process_group=group, counters=counters)
    out, *others = compress(nodes, leaves[6], **options)
    out.backward(grads)
    return [out.detach(), inputs.grad], [leaf.grad for leaf in leaves], [*statistics, *others]


def _problem(sources: int):
    generator = torch.Generator().manual_seed(3)
    tables = [(sources, 3, 3, k, k) for k in (1, 3, 5)] + [(sources, 6), (sources, 5, 3), (sources, 5, 3)]
    tables += [(3, 3, 1, 1), (3,), (3,)]
    shapes = ((3, sources, 3, 2, 3), *tables, (3, 3, 2, 3))
    inputs, *tables, grads = (torch.randn(shape, generator=generator) for shape in shapes)
    return inputs, tables, grads


def _process(rank: int, rendezvous: str, folder: str, sources: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    inputs, tables, grads = _problem(sources)
    mine = slice(0, 2) if rank == 0 else slice(2, 3)
    torch.save(_cell(inputs[mine], tables, grads[mine], dist.group.WORLD), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs in the interpreter, on the CPU")
@pytest.mark.parametrize("sources,taps", [(1, "library"), (2, "triton")], ids=["one input", "inputs in one launch"])
def test_two_processes_equal_one(sources, taps, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", taps)
    mp.spawn(_process, (str(tmp_path / "rendezvous"), str(tmp_path), sources), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    images, shared, statistics = _cell(*_problem(sources))
    for index, whole in enumerate(images):
        assert torch.allclose(torch.cat([half[0][index] for half in halves]), whole, rtol=1e-4, atol=1e-5)
    for index, whole in enumerate(shared):
        assert torch.allclose(sum(half[1][index] for half in halves), whole, rtol=1e-4, atol=1e-4)
    for index, whole in enumerate(statistics):
        for half in halves:
            assert torch.allclose(half[2][index], whole, rtol=1e-5, atol=1e-6)
