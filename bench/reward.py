"""What a reward costs, in steps of ω: ``python -m bench.reward [--people 1000] [--csv FILE] [KEY=VALUE ...]``.

One β after the other, drawn uniformly: a step of ω, the reward, the same β among those of one pass, and the slow path
(the one-hot supernet, the evaluation's inference, pycocotools), in one process, in turn, on drawn people. Before the
clock runs, reward and slow path are compared. Keys are a search's; without any it is the small space at 96x128 with
the paper's batch of 64.
"""

import argparse
import csv
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from autopose.config import Config
from autopose.config.composed import from_hydra
from autopose.data.stream import BatchStream, Loader, place
from autopose.engine.reward import TOGETHER, RewardScorer
from autopose.evaluation.inference import Poses, coco_results, predict_poses
from autopose.evaluation.scoring import score_results
from autopose.models import PoseNetwork
from autopose.nas import BilevelSearch, derive_ops
from autopose.nas.algorithms import uniform_beta
from autopose.nas.randomness import generator
from autopose.runs.datasets import load_annotations, pose_dataset
from autopose.runs.machine import machine
from autopose.runs.timing import Interleaved
from autopose.space import MacroArchitecture
from bench.small_runs import configured

DEFAULTS = [
    "space=small",
    "search=paper",
    "search.image_size=[96,128]",
    "data.image_size=[96,128]",
    "data.synthetic_size=[160,160]",
]
LIMIT = 10.0


class Bench:
    """A search at its start, the people of its reward, and one batch."""

    def __init__(self, config: Config, people: int):
        self.config, settings = config, config.search
        self.device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
        network = PoseNetwork(config.space.search_space(), 17, config.space.supernet_affine, config.kernels)
        network.place(self.device).set_norm("batch")
        self.search = BilevelSearch(network, settings, config.seed)
        annotations = load_annotations(config.data, "val")
        images = list(dict.fromkeys(person.image_id for person in annotations.persons[:people]))
        self.dataset = pose_dataset(annotations.subset(images), config.data, settings.image_size)
        self.reward = RewardScorer(
            network, self.search.alphas, self.dataset, settings.reward, self.device, settings.width
        )
        count = len(self.dataset)
        parts = np.array_split(np.arange(count), max(1, round(count / settings.reward.batch_size)))
        self.batches = list(Loader(self.dataset, [[(int(i), None) for i in part] for part in parts]))
        stream = BatchStream(count, settings.batch_size, 0, 0, 1)
        self.batch = place(next(iter(Loader(self.dataset, stream))), self.device)

    def slow_poses(self, beta: MacroArchitecture) -> Poses:
        """By the one-hot supernet and the evaluation's inference, people decoded already."""
        mixtures = self.search.alphas.fixed(derive_ops(self.search.alphas))
        return predict_poses(lambda images: self.search.network(images, beta, mixtures), self.batches, self.device)

    def slow(self, poses: Poses) -> float:
        """The reward by pycocotools."""
        found = coco_results(poses, self.dataset.annotations, nms="none")
        return max(score_results(self.dataset.annotations, found).metrics["AP"], 0.0)

    def check(self) -> None:
        """Both paths must give the same joints and the same AP, also that of joints near the truth."""
        beta = self.search.network.space.macro.all_on()
        slow, reward = self.slow_poses(beta), self.reward
        fast = reward._poses(reward._forward([beta], derive_ops(self.search.alphas)), [beta], None)[beta]
        noise = np.random.default_rng(0).normal(0, 4, slow.joints.shape)
        near = Poses(slow.index, np.stack([p.joints for p in self.dataset.annotations.persons]) + noise, slow.scores)
        for poses in (slow, near):
            if abs(reward._ap(poses) - self.slow(poses)) > 1e-6:
                raise SystemExit(f"the reward is {reward._ap(poses)}, but the slow path gives {self.slow(poses)}")
        if np.abs(slow.joints - fast.joints).max() > 1e-6:
            raise SystemExit("the reward finds other joints than the slow path")

    def measure(self, rounds: int) -> dict[str, list[float]]:
        """Seconds of every round; the β of a round are the same for all."""
        draws = generator(self.config.seed, "bench")
        macro = self.search.network.space.macro
        seconds: dict[str, list[float]] = {}
        for number in range(rounds):
            betas = list({uniform_beta(macro, draws) for _ in range(TOGETHER)})
            functions = {
                "step": lambda beta=betas[0]: self.search._weight_step(self.batch, [beta]),
                "reward": lambda beta=betas[0]: self.reward.score(beta),
                "one of a pass": lambda betas=betas: self.reward.each(betas),
                "slow path": lambda beta=betas[0]: self.slow(self.slow_poses(beta)),
            }
            timer = Interleaved(functions, self.device.type == "cuda")
            if not number:
                timer.warm_up(1)
            self.reward.clear()
            timer.round()
            for name, (value,) in timer.seconds.items():
                seconds.setdefault(name, []).append(value / (len(betas) if name == "one of a pass" else 1))
        return seconds


def main() -> int:
    """Entry point; exit status 1 where a reward costs more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="write the rows there, as bench/results/reward_cpu.csv")
    arguments, overrides = parser.parse_known_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        drawn = [f"data.root={folder}/set", "data.num_train=1", f"data.num_val={arguments.people}"]
        config = from_hydra(configured("search", *DEFAULTS, *drawn, *overrides))
        torch.set_num_threads(config.threads or torch.get_num_threads())
        bench = Bench(config, arguments.people)
        bench.check()
        seconds = bench.measure(arguments.rounds)
    rows = _rows(seconds, bench, overrides)
    for row in rows:
        print(f"{row['what']}: {row['seconds']} s, {row['steps']} steps (least {row['least']}, most {row['most']})")
    if arguments.csv:
        with arguments.csv.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    cost = next(row["steps"] for row in rows if row["what"] == "reward")
    print(f"a reward on {rows[0]['people']} people costs {cost} steps of ω, the limit is {LIMIT:g}")
    return int(cost > LIMIT)


def _rows(seconds: dict[str, list[float]], bench: Bench, overrides: list[str]) -> list[dict]:
    """A row a way, its cost in steps of ω of the same round."""
    said = [each for each in overrides if not each.startswith("data.root=")]
    about = {
        "people": len(bench.dataset), "batch": bench.config.search.batch_size, "overrides": " ".join(said),
        "threads": torch.get_num_threads(), **machine(), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    found = []
    for what, values in seconds.items():
        steps = sorted(value / step for value, step in zip(values, seconds["step"], strict=True))
        numbers = {"steps": median(steps), "least": steps[0], "most": steps[-1], "seconds": median(values)}
        found.append({"what": what, **{name: round(value, 2) for name, value in numbers.items()}, **about})
    return found


if __name__ == "__main__":
    sys.exit(main())
