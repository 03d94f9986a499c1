"""One process beside two, and two of which one dies: ``python bench/distributed.py``.

Search and training with the same global batch and synchronised batch statistics, on gloo and the CPU: architectures of
both ranks, loss curves and weights side by side. Then torchrun's agent with ``--max-restarts=1`` while rank 1 kills
itself once; what the resumed run leaves is compared bit for bit with the undisturbed run of two processes.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: E402

from autopose.runs.machine import machine  # noqa: E402
from bench import small_runs  # noqa: E402

RESULT_FILE = Path(__file__).parent / "results" / "distributed.json"
# The paper's learning rates: the larger ones of the small configurations let Adam amplify rounding tenfold a step.
OVERRIDES = {
    "search": [
        "search.sync_bn=true", "search.reward.batch_size=3", "search.weight_lr=1e-3", "search.weight_lr_end=1e-4",
        "search.alpha_lr=3e-3",
    ],
    "train": ["train.sync_bn=true", "evaluate.batch_size=3", "train.lr=1e-3"],
}  # fmt: skip
TASKS = tuple(OVERRIDES)


def worker(task: str, config: dict, folder: str, dies_at: int | None = None) -> int:
    """What one process does under torchrun's agent, or alone; writes what it ended with to ``folder``/rank_R.json."""
    from autopose.command import execute

    output = os.open(f"{folder}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    rank, attempt = os.environ.get("RANK", "0"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if dies_at is not None and rank == "1" and attempt == "0":
        die_at(task, dies_at)
    run = search_rank if task == "search" else import_module("autopose.train").run
    code = execute(run, OmegaConf.create(config), folder)
    sys.stdout.flush()
    return code


def search_rank(config, runtime) -> None:
    """A search that also records what every rank found."""
    from autopose.engine.search import SearchRun

    search = SearchRun(config, runtime)
    architecture = search.run()
    alphas = {name: value.tolist() for name, value in search.bilevel.alphas.state_dict().items()}
    found = {"architecture": architecture.to_json(), "alphas": alphas}
    (runtime.folder / f"rank_{runtime.rank}.json").write_text(json.dumps(found))


def die_at(task: str, step: int) -> None:
    """Let this process kill itself before its step number ``step``."""
    owner = import_module("autopose.nas.bilevel").BilevelSearch if task == "search" else None
    name = "cell_update" if task == "search" else "step"
    owner = owner or import_module("autopose.engine.train").TrainRun
    original, calls = getattr(owner, name), []

    def counted(*arguments):
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments)

    setattr(owner, name, counted)


def launch(task: str, config, folder: Path, processes: int, dies_at: int | None = None) -> None:
    """Run under torchrun's agent; RuntimeError with the log's end unless every process ends with code 0."""
    import multiprocessing

    multiprocessing.get_context("forkserver").set_forkserver_preload([*small_runs.PRELOADED, "bench.distributed"])
    settings = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id=f"{task}{processes}", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0 if dies_at is None else 1, monitor_interval=0.1,
        start_method="forkserver",
    )  # fmt: skip
    codes = elastic_launch(settings, worker)(task, OmegaConf.to_container(config), str(folder), dies_at)
    if any(codes.values()):
        raise RuntimeError(small_runs.log_of(folder)[-3000:])


def largest_difference(one: dict, other: dict) -> float:
    """Largest difference of any parameter or statistic, over the largest magnitude of its tensor."""
    found = [0.0]
    for name, value in one.items():
        if torch.is_tensor(value) and value.is_floating_point():
            found.append(float((value - other[name]).abs().max() / value.abs().max().clamp(min=1e-3)))
    return max(found)


def side_by_side(task: str, root: Path, data: Path, processes: tuple[int, ...] = (1, 2)) -> dict:
    """Run with one and two processes and compare."""
    from autopose.runs.checkpoint import read_checkpoint

    config = small_runs.composed(task, data, *OVERRIDES[task])
    row: dict = {"task": task, "seconds": {}}
    for count in processes:
        started = time.monotonic()
        launch(task, config, root / f"{task}_{count}", count)
        row["seconds"][str(count)] = round(time.monotonic() - started, 1)
    folders = [root / f"{task}_{count}" for count in processes]
    metrics = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in folders]
    names = ("loss_train", "loss_val", "supernet_reward") if task == "search" else ("loss",)
    row["curves"] = {name: [[epoch[name] for epoch in rows] for rows in metrics] for name in names}
    pairs = [pair for one, two in row["curves"].values() for pair in zip(one, two, strict=True)]
    row["largest_relative_difference_of_curves"] = max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs)
    states = [read_checkpoint(f / "checkpoints" / "last.pt")["state"] for f in folders]
    weights = [s["search"]["network"] if task == "search" else s["network"] for s in states]
    row["largest_relative_difference_of_weights"] = largest_difference(*weights)
    if task == "search":
        alphas = [s["search"]["alphas"] for s in states]
        row["largest_relative_difference_of_alphas"] = largest_difference(*alphas)
        ranks = [json.loads((folders[-1] / f"rank_{rank}.json").read_text()) for rank in range(processes[-1])]
        row["ranks_agree_to_the_bit"] = all(rank == ranks[0] for rank in ranks)
        files = [json.loads((f / "architecture.json").read_text()) for f in folders]
        row["same_architecture"] = all(files[0][key] == files[1][key] for key in ("beta", "cells"))
    return row


def elastic(task: str, root: Path, data: Path, undisturbed: Path, dies_at: int) -> dict:
    """Kill rank 1 before its step ``dies_at``; the agent restarts both, and the run resumes."""
    config = small_runs.composed(task, data, *OVERRIDES[task], "resume=auto")
    folder = root / f"{task}_elastic"
    launch(task, config, folder, 2, dies_at)
    different = small_runs.differences(small_runs.outcome(undisturbed), small_runs.outcome(folder))
    resumed = small_runs.log_of(folder).count("resuming from")
    return {"task": task, "rank_1_died_before_step": dies_at, "resumed": bool(resumed), "different": different}


def measure(root: Path) -> dict:
    """Everything, as written to the result file."""
    data = small_runs.draw_set(root / "data")
    rows = [side_by_side(task, root, data) for task in TASKS]
    restarts = [elastic(task, root, data, root / f"{task}_2", 9) for task in TASKS]
    return {"side_by_side": rows, "elastic_restart": restarts, **machine()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT_FILE)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        result = measure(Path(root))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return int(any(row["different"] for row in result["elastic_restart"]))


if __name__ == "__main__":
    # The agent's processes find functions by module, and this file's name as a script is __main__.
    from bench.distributed import main as entry

    sys.exit(entry())
