"""Pieces of a step: the plain step's numbers from static buffers, whatever β comes."""

from contextlib import contextmanager, nullcontext
from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from autopose.kernels import KernelChoice
from autopose.models import PoseNetwork
from autopose.models.pieces import Pieces
from autopose.nas import BilevelSearch, BilevelSettings, ControllerSettings, GumbelSettings
from autopose.space import MacroArchitecture, MacroSpace, SearchSpace
from tests.numerics import FLOOR, relative_error

MACRO = MacroSpace((4, 6), 2, 1, 1, 1, 4)


def batch(seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(4, 3, 32, 32, generator=draws, dtype=torch.float64),
        "target": torch.rand(4, 3, 8, 8, generator=draws, dtype=torch.float64),
        "target_weight": torch.ones(4, 3, dtype=torch.float64),
    }


def bilevel(pieces: Pieces | None, norm: str = "batch", kernels: str = "fused", **settings) -> BilevelSearch:
    torch.manual_seed(0)
    network = PoseNetwork(SearchSpace.full(MACRO), 3, choice=KernelChoice.all(kernels)).double()
    network.set_norm(norm)
    controller = ControllerSettings(start_epoch=9, hidden=8)
    search = BilevelSearch(
        network, BilevelSettings(epochs=1, iterations=100, controller=controller, **settings), 0, pieces=pieces
    )
    search.alphas.double()
    return search


def read(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: loss.item() for name, loss in losses.items()}


@pytest.mark.parametrize(
    "steps, options",
    [(100, {}), (8, {"norm": "track"}), (6, {"accumulate": 2, "paths": 2}), (6, {"kernels": "reference"})],
    ids=["random betas", "running statistics", "micro-batches and paths", "reference"],
)
def test_steps_from_static_buffers_are_the_plain_ones(steps, options):
    pieces = Pieces(capture=False)
    plain, ours = bilevel(None, **options), bilevel(pieces, **options)
    betas = set()
    for step in range(steps):
        betas.add(str(ours.training_beta()))
        batches = batch(2 * step), batch(2 * step + 1)
        expected, found = (read(search.cell_update(*batches)) for search in (plain, ours))
        assert found == pytest.approx(expected, rel=1e-9)
    assert len(betas) > min(steps, 9) / 2
    states = [{**search.network.state_dict(), **search.alphas.state_dict()} for search in (plain, ours)]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-9, msg=name)
    modules, branches, parts, kinds = MACRO.num_modules, 2, 2, 2
    assert len(pieces.pieces) <= modules * branches * parts * kinds
    assert steps < 100 or len(pieces.pieces) == modules * branches * parts * kinds


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_the_buffers_until_a_piece_runs_again(accumulate):
    pieces = Pieces(capture=False)
    search = bilevel(pieces, accumulate=accumulate)
    search._weight_step(batch(0), [MACRO.all_on()])
    parts = [p for module in search.network.modules_ for p in module.parameters()]
    buffers = {grad.data_ptr() for piece in pieces.pieces.values() for grad in piece.grads if grad is not None}
    assert {p.grad.data_ptr() in buffers for p in parts} == {accumulate == 1}
    assert all(p.grad.stride() == p.stride() for p in parts)


def test_a_batch_unlike_the_first_is_refused():
    search = bilevel(Pieces(capture=False))
    search._weight_step(batch(0), [MACRO.all_on()])
    other = {name: tensor[:3] for name, tensor in batch(1).items()}
    with pytest.raises(ValueError, match=r"takes tensors \(4, .*not \(3, .*like the first"):
        search._weight_step(other, [MACRO.all_on()])


def test_a_choice_of_operations_is_refused():
    search = bilevel(Pieces(capture=False), gumbel=GumbelSettings("one_op"))
    with pytest.raises(ValueError, match="cannot choose operations"):
        search._weight_step(batch(0), [MACRO.all_on()])


def test_a_second_forward_pass_spoils_the_first():
    search = bilevel(Pieces(capture=False))
    beta = MacroArchitecture.of([[1, 0], [0, 1]])
    first = search.loss(batch(0), beta, search.mixtures("alpha"))
    search.loss(batch(1), beta, search.mixtures("alpha"))
    with pytest.raises(RuntimeError, match="before the backward pass"):
        first.backward()


class UnplayedGraph:
    """A graph that remembers where its memory lies; a replay leaves the numbers of its capture."""

    def replay(self) -> None:
        pass


@pytest.fixture
def captures(monkeypatch):
    """Stand-ins for CUDA's streams and graphs."""
    handles = iter(range(10**6))

    @contextmanager
    def capture(graph, pool, capture_error_mode):
        graph.pool = pool
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, instead in {
        "CUDAGraph": UnplayedGraph, "graph": capture, "graph_pool_handle": lambda: next(handles),
        "Stream": lambda: stream, "current_stream": lambda: stream, "stream": lambda given: nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, instead)


def test_graphs_of_one_step_share_no_memory(captures):
    """They replay in another order than they were captured, and an output outlives the replays of others."""
    pieces = Pieces()
    search = bilevel(pieces, training_beta="all_on")
    search.cell_update(batch(0), batch(1))
    made = list(pieces.pieces.values())
    assert len(made) == 2 * MACRO.num_modules * 2 * 2 and all(len(piece.graphs) == 2 for piece in made)
    assert all(piece.graphs[0].pool != piece.graphs[1].pool for piece in made)
    for one, other in combinations(made, 2):
        pools = [{graph.pool for graph in piece.graphs} for piece in (one, other)]
        assert pools[0] == pools[1] if one.part == other.part else not pools[0] & pools[1]


def test_a_step_of_alpha_spoils_a_step_of_weights_that_has_not_ended():
    search = bilevel(Pieces(capture=False))
    beta = MacroArchitecture.of([[1, 0], [0, 1]])
    with torch.no_grad():
        mixtures = search.mixtures("weights")
    first = search.loss(batch(0), beta, mixtures)
    search._alpha_step(batch(1), beta)
    with pytest.raises(RuntimeError, match="before the backward pass"):
        first.backward()


def gradients(captured: bool, accumulate: int) -> list[dict[str, torch.Tensor]]:
    """Of steps of weights and α that move neither; the first ones use what later ones run last."""
    gpu, macro = torch.cuda.is_available(), MacroSpace((16, 32), 2, 1, 2, 1, 16, head="sum")
    device = torch.device("cuda" if gpu else "cpu")
    torch.manual_seed(0)
    network = PoseNetwork(SearchSpace.full(macro), 3, choice=KernelChoice.all("fused")).place(device)
    network.set_norm("batch")
    settings = BilevelSettings(epochs=1, iterations=100, accumulate=accumulate)
    search = BilevelSearch(network, settings, 0, autocast=gpu, pieces=Pieces(capture=gpu) if captured else None)
    for group in (*search.weight_optimizer.param_groups, *search.alpha_optimizer.param_groups):
        group["lr"] = 0.0
    found = []
    for rows in ([[0, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [1, 1]], [[1, 1], [1, 1]], [[1, 1], [0, 1]]):
        beta = MacroArchitecture.of(rows)
        for step in (lambda given, beta=beta: search._weight_step(given, [beta]),
                     lambda given, beta=beta: search._alpha_step(given, beta)):  # fmt: skip
            step({name: t.to(device, torch.float32) for name, t in batch(len(found)).items()})
            leaves = [*network.named_parameters(), *search.alphas.named_parameters()]
            found.append({name: p.grad.clone() for name, p in leaves if p.grad is not None})
        search.position.iteration += 1
    return found


@pytest.mark.parametrize("accumulate", [1, 2])
def test_gradients_are_the_plain_steps_whatever_was_captured_first(accumulate, monkeypatch):
    """On a GPU from graphs in bfloat16, where only the order of the library's sums may differ."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    for step, (ours, plain) in enumerate(zip(*(gradients(c, accumulate) for c in (True, False)), strict=True)):
        assert ours.keys() == plain.keys()
        errors = {name: relative_error(ours[name], plain[name]) for name in plain if plain[name].any()}
        assert max(errors.values()) <= 4 * FLOOR[torch.bfloat16], (step, {n: e for n, e in errors.items() if e > 1e-3})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_graphs_are_the_plain_step_on_a_gpu():
    searches = [bilevel(pieces, kernels="aten") for pieces in (None, Pieces())]
    for search in searches:
        search.network.to("cuda")
        search.alphas.to("cuda")
    for step in range(20):
        batches = [{name: t.cuda() for name, t in batch(2 * step + i).items()} for i in (0, 1)]
        expected, found = (read(search.cell_update(*batches)) for search in searches)
        assert found == pytest.approx(expected, rel=1e-6)
