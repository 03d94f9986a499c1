"""Search, train and evaluate on real photographs (Leeds Sports Pose Extended), beside an untrained network.

``python -m bench.lsp --root /path/to/lsp`` writes bench/results/lsp.json: the curves, both scores, the seconds of each
part and the machine. Two CPU cores need about half an hour.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from autopose.runs.machine import machine

RESULT = Path(__file__).parent / "results" / "lsp.json"


def run(task: str, root: str, folder: Path, *arguments: str) -> float:
    """Run a command of the project; returns its seconds."""
    started = time.monotonic()
    command = [sys.executable, "-m", f"autopose.{task}", "experiment=lsp", f"data.root={root}", *arguments]
    subprocess.run([*command, f"hydra.run.dir={folder}"], check=True)
    return time.monotonic() - started


def untrained(folder: Path, root: str) -> dict[str, float]:
    """Scores of the found network as it is initialised."""
    from autopose.config import from_checkpoint
    from autopose.evaluation.evaluation import evaluate
    from autopose.models import PoseNetwork
    from autopose.runs.checkpoint import read_checkpoint
    from autopose.runs.datasets import load_annotations
    from autopose.runs.runtime import start
    from autopose.space import Architecture

    content = read_checkpoint(folder / "train" / "checkpoints" / "last.pt")
    config = from_checkpoint(content["config"], _composed(root), [])
    runtime = start("cpu", folder / "untrained")
    torch.manual_seed(0)
    architecture = Architecture.from_json(content["architecture"])
    network = PoseNetwork(architecture.space(config.train.width), content["state"]["num_joints"]).eval()
    scores = evaluate(network, load_annotations(config.data, "val"), config.data, config.evaluate, runtime).scores
    return {name: value for score in scores for name, value in score.metrics.items()}


def _composed(root: str):
    from hydra import compose, initialize_config_module

    from autopose.config import from_hydra

    with initialize_config_module("autopose.configs", version_base="1.3"):
        return from_hydra(compose("evaluate", ["experiment=lsp", f"data.root={root}"]))


def main() -> None:
    """Run everything and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="folder of the dataset")
    parser.add_argument("--out", default="outputs/bench/lsp", help="folder of the runs")
    options = parser.parse_args()
    folder = Path(options.out)
    seconds = {"search": run("search", options.root, folder / "search")}
    architecture = f"architecture={folder}/search/architecture.json"
    seconds["train"] = run("train", options.root, folder / "train", architecture)
    checkpoint = f"checkpoint={folder}/train/checkpoints/last.pt"
    seconds["evaluate"] = run("evaluate", options.root, folder / "evaluate", checkpoint)
    trained = json.loads((folder / "evaluate" / "metrics.json").read_text())
    before = untrained(folder, options.root)
    read = lambda name: [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]  # noqa: E731
    result = {
        "machine": {**machine(), "threads": torch.get_num_threads()},
        "seconds": seconds,
        "trained": trained,
        "untrained": before,
        "pck_ratio": trained["Mean"] / max(before["Mean"], 1e-9),
        "search": read("search"),
        "train": read("train"),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    minutes = (seconds["search"] + seconds["train"]) / 60
    print(f"PCK@0.2 {trained['Mean']:.2f} trained, {before['Mean']:.2f} untrained; {minutes:.1f} minutes; {RESULT}")


if __name__ == "__main__":
    main()
