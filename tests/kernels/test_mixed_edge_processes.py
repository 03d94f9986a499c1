"""Statistics over several processes: two halves of a batch give what the whole batch gives."""

import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

pytest.importorskip("triton")


def _cell(inputs, tables, grads, group=None):
    from autopose.kernels._triton.mixed_edge import mixed_edges

    leaves = [t.detach().clone().requires_grad_() for t in (inputs, *tables)]
    nodes, mean, var = mixed_edges(
        leaves[:1], 1, *leaves[1:5], norm_weight=leaves[5], norm_bias=leaves[6], process_group=group
    )
    nodes[0].backward(grads)
    return [nodes[0].detach(), leaves[0].grad], [leaf.grad for leaf in leaves[1:]], [mean, var]


def _problem():
    generator = torch.Generator().manual_seed(3)
    shapes = (
        (3, 3, 2, 3),
        (1, 3, 3, 1, 1),
        (1, 3, 3, 3, 3),
        (1, 3, 3, 5, 5),
        (1, 6),
        (1, 5, 3),
        (1, 5, 3),
        (3, 3, 2, 3),
    )
    inputs, *tables, grads = (torch.randn(shape, generator=generator) for shape in shapes)
    return inputs, tables, grads


def _process(rank: int, rendezvous: str, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    inputs, tables, grads = _problem()
    mine = slice(0, 2) if rank == 0 else slice(2, 3)
    torch.save(_cell(inputs[mine], tables, grads[mine], dist.group.WORLD), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.is_available(), reason="runs in the interpreter, on the CPU")
def test_two_processes_equal_one(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPOSE_TAPS", "library")
    mp.spawn(_process, (str(tmp_path / "rendezvous"), str(tmp_path)), nprocs=2)
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    images, shared, statistics = _cell(*_problem())
    for index, whole in enumerate(images):
        assert torch.allclose(torch.cat([half[0][index] for half in halves]), whole, rtol=1e-4, atol=1e-5)
    for index, whole in enumerate(shared):
        assert torch.allclose(sum(half[1][index] for half in halves), whole, rtol=1e-4, atol=1e-4)
    for index, whole in enumerate(statistics):
        for half in halves:
            assert torch.allclose(half[2][index], whole, rtol=1e-5, atol=1e-6)
