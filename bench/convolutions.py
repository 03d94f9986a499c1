"""How much faster than its reference a cell can be on a CPU: ``python -m bench.convolutions [--rounds 15]``.

A step (forward and backward) of a lone mixed edge and of a cell with one operation an edge, batch 2, float32: the
reference in channels_last, the fused path, and alone what both must call: the library's convolutions, one by one as
the reference calls them, forward and both gradients, and with them one batch normalisation an operation. All take
turns, so other work slows all alike. What the reference takes over these is the most that a path can gain that leaves
convolutions and normalisations to the library; ReLU, pools, weights and sums would then cost nothing.

``--module`` asks the same of a module with all branches, soft, batch 16, in bfloat16: it takes its share of
convolutions from PyTorch's profiler.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from autopose.kernels.topology import CONV_SIZES, NUM_NORMED
from autopose.runs.machine import machine
from autopose.runs.timing import Interleaved
from bench.cases import CHANNELS, ONE_OPS, SIZES, Case
from bench.providers import CPU, prepare

OPERATIONS = {"mixed_edge": tuple(range(NUM_NORMED)), "one_op_cell": tuple(op for op in ONE_OPS if op < NUM_NORMED)}
REFERENCE, FUSED = (next(p for p in CPU if p.name == name) for name in ("reference channels_last", "fused"))
BATCH = 2
MODULE = Case("module", "all-soft", "step", 16)
HALF = ("reference", "reference bf16", "fused bf16")
CONVOLUTIONS = ("aten::mkldnn_convolution", "aten::convolution_backward")


def library(case: Case, normalise: bool) -> Callable[[], None]:
    """The convolutions of a step of the case, one after the other, in channels_last; ``normalise``: and all BN."""
    channels, size = CHANNELS[case.branch], SIZES[case.branch]

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape).contiguous(memory_format=torch.channels_last)

    x, g = draw(case.batch, channels, *size), draw(case.batch, channels, *size)
    operations = OPERATIONS[case.operator]
    weights = [draw(channels, channels, k, k) for k in (CONV_SIZES[op] for op in operations if op < len(CONV_SIZES))]

    def run() -> None:
        for _ in operations if normalise else ():
            _, mean, rstd = torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)
            torch.ops.aten.native_batch_norm_backward(g, x, None, None, None, mean, rstd, True, 1e-5, [True] * 3)
        for w in weights:
            padding = w.shape[-1] // 2
            F.conv2d(x, w, padding=padding)
            torch.ops.aten.convolution_backward(
                g, x, w, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1, [True, True, False]
            )

    return run


def row(case: Case, rounds: int) -> str:
    """A line of the table: medians, and the quotients of each round."""
    functions = {p.name: prepare(p, case, "cpu") for p in (REFERENCE, FUSED)}
    functions |= {"convolutions": library(case, False), "and normalisations": library(case, True)}
    timer = Interleaved(functions, gpu=False)
    timer.warm_up(2)
    for _ in range(rounds):
        timer.round()
    reference, fused, _, least = seconds = [timer.seconds[name] for name in functions]
    gained, most = (statistics.median(a / b for a, b in zip(reference, other, strict=True)) for other in (fused, least))
    times = " | ".join(f"{1e3 * statistics.median(each):.1f}" for each in seconds)
    return f"| {case.operator} | {CHANNELS[case.branch]} | {times} | {gained:.2f} | {most:.2f} |"


def module(rounds: int) -> Iterator[str]:
    """Lines of what the fused path gains in bfloat16, and would if all but the library's convolutions were free."""
    functions = {p.name: prepare(p, MODULE, "cpu") for p in CPU if p.name in HALF}
    timer = Interleaved(functions, gpu=False)
    timer.warm_up(1)
    shares = []
    for _ in range(rounds):
        timer.round()
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            functions["fused bf16"]()
        spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
        shares.append(sum(spent.get(name, 0.0) for name in CONVOLUTIONS) / sum(spent.values()))
    share, fused = statistics.median(shares), timer.seconds["fused bf16"]
    yield f"{MODULE.name}: fused bf16 {statistics.median(fused):.2f} s, of it convolutions {share:.0%}"
    for name in HALF[:-1]:
        gained = statistics.median(a / b for a, b in zip(timer.seconds[name], fused, strict=True))
        yield f"{name}: fused bf16 gains {gained:.2f}, at most {gained / share:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--module", action="store_true", help="a whole module in bfloat16 instead")
    asked = parser.parse_args(arguments)
    print(f"{machine()['cpu']}, {torch.get_num_threads()} thread(s), PyTorch {torch.__version__}")
    if asked.module:
        print("\n".join(module(asked.rounds)))
        return 0
    print(f"ms, batch {BATCH}\n")
    print("| case | C | reference channels_last | fused | convolutions | with normalisations | fused gains | at most |")
    print("| --- " * 8 + "|")
    for operator in OPERATIONS:
        for branch in range(len(CHANNELS)):
            print(row(Case(operator, str(branch), "step", BATCH), asked.rounds), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
