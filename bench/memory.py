"""Memory switches measured: ``python bench/memory.py``; also on a GPU, where there is one.

One step of the ω half of Algorithm 1 (forward and backward with every branch active, then Adam) for each switch, in a
process of its own: bytes that autograd keeps, the peak above what the process held before there was a network (resident
set on a CPU, the allocator's on a GPU), the whole of it beside what ``autopose.runs.memory`` predicted, time of a step.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch  # noqa: E402

from autopose.runs.machine import machine  # noqa: E402

CASES = {
    "default (soft Gumbel, float32)": {},
    "activation_checkpointing": {"activation_checkpointing": True},
    "accumulate=2": {"accumulate": 2},
    "gumbel one_op": {"relaxation": "one_op"},
    "search.graphs": {"graphs": True},
    "precision=bf16": {"precision": "bf16"},
    "all four": {"activation_checkpointing": True, "accumulate": 2, "relaxation": "one_op", "precision": "bf16"},
}
SMALL = {"channels": (8, 16, 32), "modules_per_stage": 1, "nodes_individual": 2, "nodes_aggregation": 1,
         "stem_channels": 16, "batch": 16, "size": (96, 128)}  # fmt: skip
PAPER = {"channels": (16, 32, 64, 128), "modules_per_stage": 2, "nodes_individual": 4, "nodes_aggregation": 2,
         "stem_channels": 64, "batch": 64, "size": (192, 256)}  # fmt: skip
NUM_JOINTS = 17


def saved_bytes(network: torch.nn.Module, images: torch.Tensor, forward) -> int:
    """Bytes that autograd keeps for one backward pass of ``forward(images)``, parameters not counted."""
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward(images)
    del output
    return sum(kept.values())


def measure(switches: dict, shape: dict, device: torch.device, steps: int) -> dict:
    """One case, in this process."""
    from autopose.models import PoseNetwork
    from autopose.models.pieces import Pieces
    from autopose.nas import BilevelSearch, BilevelSettings, GumbelSettings
    from autopose.runs.memory import held, peak_during, predict_peak, search_passes
    from autopose.runs.precision import Precision
    from autopose.space import MacroSpace, SearchSpace

    graphs = switches.get("graphs", False)
    names = ("channels", "modules_per_stage", "nodes_individual", "nodes_aggregation", "stem_channels")
    macro = MacroSpace(**{name: tuple(v) if isinstance(v := shape[name], list) else v for name in names})
    width, height = shape["size"]
    before = held(device)
    torch.manual_seed(0)
    network = PoseNetwork(
        SearchSpace.full(macro), NUM_JOINTS, activation_checkpointing=switches.get("activation_checkpointing", False)
    )
    network.place(device).train()
    settings = BilevelSettings(
        training_beta="all_on", accumulate=switches.get("accumulate", 1),
        alpha_start_epoch=0 if graphs else 1, gumbel=GumbelSettings(relaxation=switches.get("relaxation", "soft")),
    )  # fmt: skip
    pieces = Pieces(capture=device.type == "cuda", keep=True) if graphs else None
    precision = Precision(switches.get("precision", "fp32"))
    search = BilevelSearch(network, settings, 0, autocast=precision.half, pieces=pieces)
    micro = shape["batch"] // settings.accumulate

    def forward(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            mixtures = search.mixtures("weights")
        with precision.autocast(device):
            return network(images, macro.all_on(), mixtures)

    network.set_norm("batch")
    passes = search_passes(network, settings.gumbel, precision, graphs)
    predicted = predict_peak(network, (width, height), micro, passes)
    batch = {
        "image": torch.randn(shape["batch"], 3, height, width, device=device),
        "target": torch.rand(shape["batch"], NUM_JOINTS, height // 4, width // 4, device=device),
        "target_weight": torch.ones(shape["batch"], NUM_JOINTS, device=device),
    }
    times = []

    def run() -> None:
        for _ in range(steps):
            started = time.perf_counter()
            search.cell_update(batch, batch)
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)

    peak = peak_during(run, device)
    kept = saved_bytes(network, batch["image"][:micro], forward)
    return {
        "kept_for_backward_mib": round(kept / 2**20, 1),
        "peak_mib": round((peak - before) / 2**20, 1),
        "whole_peak_mib": round(peak / 2**20, 1),
        "predicted_mib": round(predicted / 2**20, 1),
        "prediction_over_peak": round(predicted / peak, 2),
        "step_s": round(sorted(times[1:] or times)[len(times[1:] or times) // 2], 3),
    }


def child(case: str, shape: dict, device: str, steps: int) -> dict:
    """Measure one case in a fresh process, whose peak is its own."""
    command = [sys.executable, __file__, "--child", json.dumps([CASES[case], shape, device, steps])]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        raise RuntimeError(f"{case}: {found.stderr[-2000:]}")
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=("small", "paper"), help="default: small on a CPU, paper on a GPU")
    parser.add_argument("--steps", type=int, default=4, help="the first is not timed")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        switches, shape, device, steps = json.loads(arguments.child)
        torch.set_num_threads(1)
        print(json.dumps(measure(switches, shape, torch.device(device), steps)))
        return
    name = arguments.shape or ("paper" if arguments.device == "cuda" else "small")
    shape = {"small": SMALL, "paper": PAPER}[name]
    output = arguments.output or Path(__file__).parent / "results" / f"memory_{arguments.device}.csv"
    rows = []
    for case in CASES:
        rows.append({"switch": case, **child(case, shape, arguments.device, arguments.steps)})
        print(rows[-1], flush=True)
    about = {"supernet": name, "batch": shape["batch"], "input": "x".join(map(str, shape["size"])), **machine()}
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], *about])
        writer.writeheader()
        writer.writerows(row | about for row in rows)


if __name__ == "__main__":
    main()
