"""Small searches and trainings in forked processes, for what kills, resumes and compares them.

A process forked from a server that has everything imported starts in milliseconds instead of seconds, and runs what
the command line would run: ``autopose.command.execute`` on a composed configuration.
"""

import hashlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from omegaconf import OmegaConf

SIZE = [
    "space.channels=[4,8]", "space.num_stages=2", "space.modules_per_stage=1", "space.nodes_individual=1",
    "space.nodes_aggregation=1", "space.stem_channels=4", "data.num_train=24", "data.num_val=6",
    "data.synthetic_size=[64,64]", "data.image_size=[32,32]", "data.workers=0", "threads=1", "device=cpu",
    # The few figures are seen rotated: without, two processes drift apart from one by rounding alone.
    "data.augmentation=paper", "data.sigma=2.0",
]  # fmt: skip
SEARCH = [
    "search.epochs=2", "search.iterations=6", "search.batch_size=4", "search.controller.start_epoch=1",
    "search.controller.updates=2", "search.alpha_start_epoch=0", "search.reward.metric=negative_loss",
    "search.reward.images=8", "search.derive_samples=3", "search.checkpoint_every=1", "trace=true",
]  # fmt: skip
TRAIN = [
    "architecture=random", "train.epochs=3", "train.batch_size=4", "train.evaluate_every=2",
    "train.checkpoint_every=1", "train.width=1", "train.ema=0.9", "train.warmup_steps=4", "trace=true",
]  # fmt: skip
OVERRIDES = {
    "search": SIZE + SEARCH, "train": SIZE + TRAIN,
    "correlate": [*SIZE, "correlate.architectures=3", "correlate.epochs=1"],
}  # fmt: skip
PRELOADED = [
    "autopose.search", "autopose.train", "autopose.kernels._aten.resample_sum", "torch._dynamo",
    "torch.utils.tensorboard", "matplotlib.backends.backend_agg",
]  # fmt: skip
LIMIT_S = 240


def composed(task: str, data: Path, *overrides: str):
    """The configuration of ``task`` at its smallest, on the synthetic set in ``data``."""
    return configured(task, *OVERRIDES[task], f"data.root={data}", *overrides)


def configured(task: str, *overrides: str):
    """The configuration of ``task`` as the command line would compose it."""
    from hydra import compose, initialize_config_module

    import autopose.config  # noqa: F401

    with initialize_config_module("autopose.configs", version_base="1.3"):
        return compose(task, ["precision=fp32", *overrides])


def start(task: str, config, folder: Path, prepare: Callable[[], None] | None = None) -> BaseProcess:
    """Start ``task`` in ``folder``, its output appended to ``folder``.txt; ``prepare`` runs first in the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    folder.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_run, args=(task, OmegaConf.to_container(config), str(folder), prepare))
    process.start()
    return process


def _run(task: str, config: dict, folder: str, prepare: Callable[[], None] | None) -> None:
    from autopose.command import execute

    output = os.open(f"{folder}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    code = execute(import_module(f"autopose.{task}").run, OmegaConf.create(config), folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(process: BaseProcess, limit: float = LIMIT_S) -> int:
    """Exit code, negative where a signal ended it; a process that takes longer than ``limit`` seconds is killed."""
    process.join(limit)
    if process.exitcode is None:
        kill(process)
        raise TimeoutError(f"the run took longer than {limit} s")
    return process.exitcode


def kill(process: BaseProcess) -> None:
    """SIGKILL, and the process is gone."""
    process.kill()
    process.join()


def run(task: str, config, folder: Path, prepare: Callable[[], None] | None = None) -> int:
    """Run ``task`` to its end; returns the exit code."""
    return wait(start(task, config, folder, prepare))


def log_of(folder: Path) -> str:
    """All that the runs in ``folder`` printed."""
    return folder.with_suffix(".txt").read_text()


def outcome(folder: Path) -> dict[str, str]:
    """Digests of what a finished run leaves behind: every tensor and number of the last checkpoint, and its files."""
    from autopose.runs.checkpoint import read_checkpoint

    content = read_checkpoint(folder / "checkpoints" / "last.pt")
    found = {f"state/{name}": digest for name, digest in _digests(content["state"])}
    names = ("architecture.json", "metrics.jsonl", "metrics.json", *results(folder))
    found |= {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in names if (folder / n).exists()}
    return found


def parting(one: Path, other: Path) -> str:
    """Where two runs part by their traces, for the message of a test: their folders and the first lines that differ."""
    lines = [{x.split(" ", 1)[0]: x for x in (f / "steps.log").read_text().splitlines()} for f in (one, other)]
    for step, line in lines[0].items():
        if lines[1].get(step) != line:
            return f"{one} and {other} part at:\n{line}\n{lines[1].get(step)}"
    return f"{one} and {other} have the same trace"


def results(folder: Path) -> list[str]:
    """Result files of a run, relative to its folder."""
    return sorted(str(path.relative_to(folder)) for path in (folder / "results").glob("*.json"))


def _digests(node, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _digests(value, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(node, list | tuple):
        for key, value in enumerate(node):
            yield from _digests(value, f"{prefix}/{key}")
    elif isinstance(node, torch.Tensor):
        yield prefix, hashlib.sha256(node.contiguous().numpy().tobytes()).hexdigest()
    else:
        yield prefix, repr(node)


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Names whose digests differ or are missing on one side."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def draw_set(folder: Path) -> Path:
    """The synthetic set of the small runs, drawn before any process asks for it."""
    from autopose.data.synthetic.dataset import synthetic_dataset

    return synthetic_dataset(folder, 0, 24, 6, (64, 64))
