"""Steps of search and training never wait for the device, and a run ends the same however seldom it reads."""

import json
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from networks import supernet
from waits import Waits

from autopose.config.composed import from_hydra
from autopose.engine.train import TrainRun
from autopose.models import guard
from autopose.nas import BilevelSearch, BilevelSettings, GumbelSettings
from autopose.nas.algorithms import Policy, RandomSearch
from autopose.nas.cost import Cost, Penalty
from autopose.runs.runtime import Runtime
from autopose.space import MacroSpace, builtin_architecture
from bench import small_runs

MACRO = MacroSpace((4, 6), 2, 1, 1, 1, 4)
META = torch.device("meta")
SEARCHES = {
    "soft, all on": {"training_beta": "all_on"},
    "straight through, random betas": {"gumbel": GumbelSettings("straight_through", skip_dropout=0.5)},
    "micro-batches, running statistics": {"accumulate": 2, "norm": "track"},
    "one operation at random": {"algorithm": RandomSearch, "paths": 2},
    "fair operations": {"algorithm": RandomSearch, "sampling": "fair"},
    "a cost of alpha": {"cost": True},
}


def batch(device: torch.device, count: int = 4) -> dict[str, torch.Tensor]:
    shapes = {"image": (3, 32, 32), "target": (3, 8, 8), "target_weight": (3,)}
    return {name: torch.rand(count, *shape).to(device) for name, shape in shapes.items()}


def bilevel(device, algorithm=Policy, norm="batch", cost=False, **settings) -> BilevelSearch:
    network = supernet(MACRO).to(device)
    network.set_norm(norm)
    penalty = Penalty(Cost(network.space, 1, (32, 32), 3), 0.1, 0.0) if cost else None
    settings = BilevelSettings(epochs=1, iterations=9, weight_optimizer="sgd", **settings)
    return BilevelSearch(network, settings, 0, algorithm, cost=penalty)


@pytest.fixture
def no_autocast(monkeypatch):
    """This device has none; that precision is the device's own is not what is asked here."""
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *arguments: False)


@pytest.mark.parametrize("name", SEARCHES)
def test_an_iteration_of_a_search_waits_for_nothing(name, no_autocast):
    search = bilevel(META, **SEARCHES[name])
    # On this device Adam would count its steps on the host; how it looks at a flag is test_guard's.
    search.alpha_optimizer = torch.optim.SGD(search.alphas.parameters(), 0.1, momentum=0.9)
    batches = batch(META), batch(META)
    for _ in range(3):
        with Waits() as waits:
            losses = search.cell_update(*batches)
        assert not waits.found
        assert all(loss.device == META for loss in losses.values())
    with pytest.raises((RuntimeError, NotImplementedError)):
        search.bad_steps.read()


def test_an_operation_chosen_by_alpha_is_the_one_thing_read(no_autocast):
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        bilevel(META, gumbel=GumbelSettings("one_op")).cell_update(batch(META), batch(META))


@pytest.mark.parametrize("options", [(), ("train.grad_clip=1", "train.accumulate=2")], ids=str)
def test_a_step_of_a_training_waits_for_nothing(options, small_set, tmp_path, no_autocast):
    config = from_hydra(small_runs.composed("train", small_set, *options))
    runtime = Runtime(torch.device("cpu"), 0, 1, tmp_path, stop=None)
    macro = MacroSpace((4, 8), 2, 1, 1, 1, 4)
    run = TrainRun(config, runtime, builtin_architecture("all_on_conv3", macro))
    run.network.to(META)
    run.optimizer = torch.optim.SGD(run.network.parameters(), 0.1, momentum=0.9)
    run.averaged = guard.ExponentialAverage(run.network, 0.9)
    there = {name: value.to(META) for name, value in next(run.batches()).items()}
    for _ in range(3):
        with Waits() as waits:
            assert run.step(there).device == META
        assert not waits.found


def poison(numbers: frozenset[int]) -> None:
    """Make the images of a run's batches with these numbers NaN, in the order in which they are placed."""
    from autopose.engine import search, train

    def spoiling(place):
        placed = []

        def spoiled(samples, device):
            found = place(samples, device)
            placed.append(1)
            if len(placed) in numbers:
                found["image"] = torch.full_like(found["image"], float("nan"))
            return found

        return spoiled

    search.place, train.place = spoiling(search.place), spoiling(train.place)


def spoiled_run(task: str, small_set, folder, *options: str, numbers=frozenset({1, 5, 6, 13})) -> int:
    sparse = [f"{task}.checkpoint_every=0", *options]
    return small_runs.run(task, small_runs.composed(task, small_set, *sparse), folder, partial(poison, numbers))


@pytest.mark.parametrize("task", ["search", "train"])
def test_a_run_with_bad_steps_ends_the_same_however_seldom_it_reads(task, small_set, tmp_path):
    folders = {traced: tmp_path / f"{traced}" for traced in ("true", "false")}
    for traced, folder in folders.items():
        assert spoiled_run(task, small_set, folder, f"trace={traced}") == 0, small_runs.log_of(folder)
    one, other = (small_runs.outcome(folder) for folder in folders.values())
    assert small_runs.differences(one, other) == []
    rows = [json.loads(line) for line in (folders["false"] / "metrics.jsonl").read_text().splitlines()]
    assert [row["bad_steps"] for row in rows] == ([3, 4] if task == "search" else [3, 4, 4])


@pytest.mark.parametrize(("task", "step"), [("search", 2), ("train", 5)])
def test_a_run_that_diverges_says_at_which_step(task, step, small_set, tmp_path):
    folder = tmp_path / task
    assert spoiled_run(task, small_set, folder, "trace=false", f"{task}.max_bad_steps=2") == 3
    text = small_runs.log_of(folder)
    assert f"error: 2 steps in a row had a gradient that is not finite, at step {step}" in text
