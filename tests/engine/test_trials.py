"""Trial trainings: what they train, which candidate they choose, and what a search with them writes."""

import json
from dataclasses import replace
from math import inf, isnan, nan

import pytest
import torch
from test_commands import run

from autopose.config.composed import composed
from autopose.engine import trials as module
from autopose.engine.train import TrainRun, learning_rate
from autopose.engine.trials import FINAL, Done, Trials
from autopose.errors import Diverged, UserError
from autopose.runs.datasets import load_annotations, pose_dataset
from autopose.runs.runtime import Runtime, StopRequest
from autopose.space import Architecture
from autopose.space.builtin import Size, builtin_architecture
from bench.small_runs import SEARCH, SIZE, TRAIN


@pytest.fixture
def built(small_set, tmp_path):
    stop = StopRequest()

    def build(*overrides: str, rank: int = 0, world_size: int = 1) -> Trials:
        config = composed("search", *SIZE, f"data.root={small_set}", "search.width=1", *overrides)
        data = pose_dataset(load_annotations(config.data, "train"), config.data, augment=True)
        runtime = Runtime(torch.device("cpu"), rank, world_size, tmp_path, stop)
        return Trials(config, runtime, data)

    yield build
    stop.release()


def test_a_trial_is_the_beginning_of_a_training(built, small_set, tmp_path, monkeypatch):
    recipe = [option for option in TRAIN if option.startswith("train.")]
    recipe += ["train.accumulate=2", "train.grad_clip=0.01", "train.optimizer=adamw", "train.ema=0"]
    names = {"trial weights": ("weights",), "trial batches": ("batches", "train")}
    real = module.derive_seed
    monkeypatch.setattr(module, "derive_seed", lambda seed, name, repeat: real(seed, *names[name]))
    trials = built("search.trials.steps=5", *recipe)
    architecture = Architecture.load(saved(tmp_path, 0))
    config = composed("train", *SIZE, f"data.root={small_set}", *recipe)
    training = TrainRun(config, trials.runtime, architecture)
    batches, losses = training.batches(), []
    for step in range(5):
        training._set_lr(step)
        losses.append(float(training.step(next(batches))))
    assert trials.losses(architecture, 0) == pytest.approx(losses, rel=1e-6)


def saved(folder, seed: int):
    """A random architecture of the small space."""
    macro = composed("search", *SIZE).space.macro()
    path = folder / f"{seed}.json"
    builtin_architecture("random", macro, seed).save(path)
    return path


def told(trials: Trials, monkeypatch, losses: dict[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Let (architecture, repeat) have these losses; the trainings that were made."""
    made: list[tuple[int, int]] = []

    def train(number: int, repeat: int) -> list[float]:
        made.append((number, repeat))
        loss = losses.get((number, repeat), 1.0)
        return [loss + 0.01, loss - 0.01]

    monkeypatch.setattr(trials, "losses", train)
    monkeypatch.setattr(trials, "_key", lambda number, repeat: f"{number} {repeat}")
    return made


def test_repeats_are_for_the_better_half_and_their_mean_decides(built, monkeypatch):
    trials = built()
    # 4 is the best at first, 2 the best of all; 0 would have been but leaves after the first repeat.
    losses = {(4, 0): 0.1, (4, 1): 0.9, (2, 0): 0.3, (2, 1): 0.3, (2, 2): 0.3, (3, 0): 0.5, (0, 0): 1.1, (0, 1): 0.0}
    made = told(trials, monkeypatch, losses)
    best, shown = trials.rank(range(5))
    assert best == 2 and [len(trial.losses) for trial in shown] == [1, 1, 3, 2, 3]
    assert len(made) == trials.trainings(5) == 5 + 3 + 2
    assert shown[2].loss == pytest.approx(0.3) and shown[4].loss == pytest.approx((0.1 + 0.9 + 1.0) / 3)


def test_of_the_finalists_the_end_of_a_longer_training_decides(built, monkeypatch):
    trials = built("search.trials.repeats=2", "search.trials.finalists=4")
    first = {(n, 0): 0.1 * n for n in range(6)} | {(0, 1): 0.9, (1, 1): 0.2, (2, 1): 0.2}
    made = told(trials, monkeypatch, first | {(1, FINAL): 0.5, (2, FINAL): 0.3, (0, FINAL): nan, (3, FINAL): 0.4})
    best, shown = trials.rank(range(6))
    # 1 and 2 lead after the repeats, then 0; 3 is the best of those that had one training only.
    assert best == 2 and [n for n, repeat in made if repeat == FINAL] == [1, 2, 0, 3]
    assert len(made) == trials.trainings(6) + trials.finalists(6) == 6 + 3 + 4
    # Of two losses the last quarter is the second.
    assert shown[2].last == pytest.approx(0.29) and isnan(shown[0].last) and isnan(shown[4].last)
    told(trials, monkeypatch, first | {(n, FINAL): nan for n in range(6)})
    with pytest.raises(Diverged, match="every trial training"):
        trials.rank(range(6))


def test_a_finalists_training_has_the_whole_schedule(built, monkeypatch):
    recipe = ["train.epochs=4", "train.milestones=[2,3]", "train.lr=0.1", "train.lr_gamma=0.5", "train.warmup_steps=0"]
    trials = built("search.trials.finalists=1", "search.trials.finalist_steps=8", "train.batch_size=4", *recipe)
    asked = []
    monkeypatch.setattr(module, "learning_rate", lambda *of: asked.append(learning_rate(*of)) or asked[-1])
    architecture = builtin_architecture("random", trials.config.space.macro(), 0)
    assert len(trials.losses(architecture, FINAL)) == 8
    assert asked == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.025] * 2)


def test_a_training_that_diverges_is_never_chosen(built, monkeypatch):
    trials = built("search.trials.repeats=2")
    told(trials, monkeypatch, {(0, 0): nan, (1, 0): 0.2, (1, 1): inf, (2, 0): 0.3})
    assert trials.rank(range(4))[0] == 2
    told(trials, monkeypatch, dict.fromkeys([(n, r) for n in range(2) for r in range(2)], inf))
    with pytest.raises(Diverged, match=r"every trial training .* lower train.lr"):
        trials.rank(range(2))


def test_two_processes_share_the_trainings_and_agree(built, monkeypatch):
    losses = {(n, r): 1 / (1 + n) + r for n in range(5) for r in range(2)}
    alone = built("search.trials.repeats=2")
    told(alone, monkeypatch, losses)
    expected = alone.rank(range(5))
    # Five are trained by twos; then the better half, 4, 3 and 2.
    rounds = [((0, 1), 0), ((2, 3), 0), ((4,), 0), ((4, 3), 1), ((2,), 1)]
    for rank in range(2):
        trials, left = built("search.trials.repeats=2", rank=rank, world_size=2), iter(rounds)
        made = told(trials, monkeypatch, losses)

        def gather(found: list, mine: dict, rank=rank, left=left) -> None:
            """The other's share is what it would have trained."""
            together, repeat = next(left)
            shares = [{f"{n} {repeat}": [losses[n, repeat] + 0.01, losses[n, repeat] - 0.01]} for n in together]
            assert mine == dict(*shares[rank : rank + 1])
            found[:] = [*shares, {}][:2]

        monkeypatch.setattr(module.dist, "all_gather_object", gather)
        assert trials.rank(range(5)) == expected
        assert len(made) == (3 + 2 if rank == 0 else 2 + 1)


def test_what_was_trained_is_not_trained_again(built, tmp_path, monkeypatch, caplog):
    losses = {(n, r): 1 / (1 + n) + r for n in range(4) for r in range(2)}

    def ranked(recipe: dict, *overrides: str):
        trials = built("search.trials.repeats=2", *overrides)
        trials.done = Done(tmp_path / "trials.json", recipe, trials.runtime)
        made = told(trials, monkeypatch, losses)
        return trials, made

    trials, made = ranked({"seed": 0})
    stops = iter([None] * 3 + [KeyboardInterrupt()])
    monkeypatch.setattr(trials, "before_each", lambda: stopped(next(stops)))
    with pytest.raises(KeyboardInterrupt):
        trials.rank(range(4))
    assert made == [(0, 0), (1, 0), (2, 0)]
    trials, made = ranked({"seed": 0})
    found = trials.rank(range(4))
    assert made == [(3, 0), (3, 1), (2, 1)]
    # Nor is anything lost where the disk is full: what ended is remembered as long as the run lives.
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_json", lambda *_: stopped(UserError("cannot write trials.json: disk full")))
        trials, made = ranked({"seed": 2})
        assert trials.rank(range(4)) == found and len(made) == 6 and "are repeated" in caplog.text
    # Another recipe has no use of them, and a file that is torn is none.
    trials, made = ranked({"seed": 1})
    assert trials.rank(range(4)) == found and len(made) == 6
    (tmp_path / "trials.json").write_text('{"recipe": "')
    trials, made = ranked({"seed": 1})
    assert trials.rank(range(4)) == found and len(made) == 6


def stopped(problem: BaseException | None) -> None:
    """Raise it, if there is one."""
    if problem is not None:
        raise problem


def test_a_training_is_known_by_architecture_steps_and_seed(built):
    trials = built("search.trials.steps=5", "search.trials.finalist_steps=7")
    macro = trials.config.space.macro()
    one, other = (builtin_architecture("random", macro, seed) for seed in range(2))
    keys = [trials._key(each, repeat) for each in (one, other) for repeat in (0, 1, module.FINAL)]
    assert len(set(keys)) == 6 and keys[0] == trials._key(replace(one, found_by={"seed": 3}), 0)
    assert keys[0].endswith(" 0 5") and keys[2].endswith(" -1 7")


def test_a_search_ends_with_the_candidate_that_learns_fastest(small_set, tmp_path, capsys):
    options = ["search.trials.candidates=6", "search.trials.steps=3", "search.width=1", "train.batch_size=4"]
    options += ["search.trials.repeats=2", "search.trials.finalists=2", "search.trials.finalist_steps=4"]
    assert run("search", tmp_path / "free", *SEARCH, f"data.root={small_set}", *options) == 0
    text = capsys.readouterr().out
    found = Architecture.load(tmp_path / "free" / "architecture.json")
    rows = found.found_by["candidates"]
    assert len(rows) == 6 and {"mode", "varied"} <= {row["source"] for row in rows}
    tried = [row for row in rows if "loss" in row]
    best = min((row for row in tried if "last_loss" in row), key=lambda row: row["last_loss"])
    assert best["beta"] == str(found.macro) and best["reward"] == found.found_by["reward"]
    assert sum("last_loss" in row for row in tried) == 2
    assert f"loss {best['loss']:.3e} of 2, {best['last_loss']:.3e} at last" in text
    summary = json.loads((tmp_path / "free" / "run.json").read_text())
    assert "loss at last" in json.dumps(summary, ensure_ascii=False)
    # Derived again from the checkpoint: the same; within a budget: only such as keep it.
    checkpoint = f"checkpoint={tmp_path / 'free' / 'checkpoints' / 'last.pt'}"
    assert run("derive", tmp_path / "again", checkpoint, f"data.root={small_set}") == 0
    assert replace(Architecture.load(tmp_path / "again" / "architecture.json"), found_by={}) == replace(
        found, found_by={}
    )
    size = Size((32, 32), 17, 1)
    limit = 0.95 * size.gmacs(found)
    options = [checkpoint, f"data.root={small_set}", f"search.max_gmacs={limit}"]
    assert run("derive", tmp_path / "kept", *options) == 0
    assert size.gmacs(Architecture.load(tmp_path / "kept" / "architecture.json")) <= limit


def test_the_best_of_a_random_search_are_tried(small_set, tmp_path):
    options = ["search.algorithm=random", "search.trials.candidates=3", "search.trials.steps=2", "train.batch_size=4"]
    assert run("search", tmp_path, *SEARCH, f"data.root={small_set}", *options) == 0
    rows = Architecture.load(tmp_path / "architecture.json").found_by["candidates"]
    assert len(rows) == 3 and all(row["source"].startswith("best of ") and row["trials"] >= 1 for row in rows)
