"""What the kernels must move and multiply, from their own plans: ``python -m bench.roofline [--gpu h100]``.

Every launch of a cell's step stands in a list with the bytes that it reads and writes, once each, and its FLOPs; the
order and number of launches are those that the plans make (a test records them). A time is the larger of bytes over
bandwidth and FLOPs over peak, at the shares of both that kernels reach (a product's by what its machine code issues),
and never less than a launch takes within a CUDA graph. It is an estimate: no GPU is asked. ``--launches`` prints the
table of docs/kernels.md. With a search's own words behind it (``gpu=h100 experiment=coco search.epochs=50``) it is that
search's supernet, batch and iterations that are reckoned, on one card, in place of the paper's.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autopose import kernels
from autopose.errors import UserError
from autopose.kernels._triton.launch import Cell, planes, switches
from autopose.kernels.topology import NUM_CONVS, NUM_NORMED, NUM_TAPS, Topology, input_gradient_splits
from autopose.models import PoseNetwork
from autopose.space import OPS, MacroArchitecture, MacroSpace, SearchSpace
from bench.graphed import CALL, REPLAY, Calls, host_of

CELLS = {"individual_1": (1, 4), "individual_2": (1, 4), "aggregation": (4, 2)}
CELL_CALLS = ("mixed_cell", "compress")
WIDE, INDEX = 4, 1  # bytes of a float32, and of a place in a pooling window


@dataclass(frozen=True)
class Gpu:
    """Data sheet: bytes a second, and dense bf16 FLOP a second. ``hopper``: runs code for sm_90."""

    bandwidth: float
    flops: float
    hopper: bool = False


GPUS = {
    "h100": Gpu(3.35e12, 989e12, hopper=True),
    "h200": Gpu(4.8e12, 989e12, hopper=True),
    "a100": Gpu(2.04e12, 312e12),
    "rtx4090": Gpu(1.01e12, 165e12),
}
# Shares of the data sheet that the streaming kernels and the products are taken to reach, and seconds of the shortest
# launch in a graph: estimates of a study of the compiled code, until a GPU has run (bench/gpu.sh).
BANDWIDTH_SHARE, PRODUCT_SHARE, SHORTEST = 0.6, 0.2, 2e-6
# Seconds that each level of a sum's last programs adds to a launch: a counter's and the partial results' round trips to
# the L2, one after the other. An estimate, like all here: most read 10 to 100 KB a level, less than an SM gets in it at
# 64 bytes a clock; the widest, reduce of four edges at C = 64, reads 230 and may take twice as long.
TAIL = 1e-6
# On Hopper a product's share is ISSUE_SHARE of what its programs can issue, by kernel and channels: multiply-adds a
# clock of an SM, read from the machine code (`bench.issue`, Triton 3.9), of PEAK. ISSUE_SHARE is such that the programs
# of 2026-11-28 (taps 639, 1008, 1123, 910; input gradient 577, 765, 668, 672; weight gradient 799, 1017, 1178, 1257)
# take as long together as with PRODUCT_SHARE for all. Of taps at C = 32 issuing is no limit (2,124). The table is of
# tiles 64 columns wide; at C = 16 two edges of a source fill half of these, one a quarter: they issue half, a third.
ISSUED = {
    "taps_kernel": {16: 1359, 32: 2048, 64: 1673, 128: 1691},
    "input_gradient_kernel": {16: 997, 32: 1923, 64: 1574, 128: 1566},
    "weight_gradient_kernel": {16: 1064, 32: 1232, 64: 1495, 128: 1623},
}
PEAK, ISSUE_SHARE = 2048, 0.51


@dataclass(frozen=True)
class Work:
    """One launch: planes are (P, C) matrices of the states' dtype; ``other`` bytes are of weights and statistics.

    ``tail``: how many times at its end a program, the last of a group to come, waits for what others have stored.
    """

    kernel: str
    read: float
    written: float
    other_read: int = 0
    other_written: int = 0
    flops: int = 0
    reads: str = ""
    writes: str = ""
    tail: int = 0


def cell_work(cell: Topology, channels: int, pixels: int, itemsize: int, weights: bool) -> list[Work]:
    """Launches of a step (forward, backward) of a cell of mixed edges, Triton's convolutions, in their order.

    Args:
        cell: inputs and nodes.
        channels, pixels: C and P = N * H * W.
        itemsize: bytes of a value of the states.
        weights: whether the weights get gradients (a step of ω), or only states and mixing weights (of α).
    """
    inputs = range(cell.inputs)
    groups = [inputs, *(range(s, s + 1) for s in range(cell.inputs, cell.sources))]
    forward: list[Work] = []
    for group in groups:
        if group[0] >= cell.inputs:
            forward.append(_mix(cell, group[0] - cell.inputs, channels, pixels, itemsize))
        forward += _forward_group(cell, group, channels, pixels, itemsize)
    forward.append(_mix(cell, cell.nodes - 1, channels, pixels, itemsize))
    forward += _compress_forward(cell.nodes, channels, pixels)
    backward = [*_compress_backward(cell.nodes, channels, pixels, weights)]
    for group in reversed(groups):
        backward += _backward_group(cell, group, channels, pixels, itemsize, weights)
    return forward + backward


def _matrices(edges: int, channels: int) -> int:
    """Weights of this many edges."""
    return edges * NUM_TAPS * channels**2


def kept(channels: int) -> int:
    """Planes of raw outputs that an edge keeps; AUTOPOSE_POINTWISE is heeded."""
    chosen = switches()._replace(taps="triton")
    return planes(Cell(1, 1, 1, 1, 1, channels), torch.bfloat16, torch.device("cpu"), chosen)


def _anew(edges: int, channels: int, pixels: int, itemsize: int) -> tuple[int, int]:
    """Bytes of the weights, and FLOPs, of one 1x1 product of each edge, where their outputs are made anew."""
    matrices = (NUM_CONVS - kept(channels)) * edges * channels**2
    return matrices * itemsize, 2 * matrices * pixels


def _mix(cell: Topology, node: int, channels: int, pixels: int, itemsize: int) -> Work:
    edges, last = len(cell.into(node)), node == cell.nodes - 1
    y, (weights, flops) = kept(channels) * edges, _anew(edges, channels, pixels, itemsize)
    reads, writes = f"{y} y, {edges} x", "1 node" + ("" if last else ", 1 ReLU(x)")
    return Work("mix_kernel", y + edges, 1 if last else 2, weights, 0, flops, reads, writes)


def _compress_forward(m: int, channels: int, pixels: int) -> Iterator[Work]:
    """Of the compression of m nodes."""
    matrix, table = m * channels**2, channels * WIDE
    yield Work(
        "compress_product_kernel", m, 1, matrix * WIDE, 2 * table, 2 * matrix * pixels, f"{m} nodes",
        "1 z, mean, variance", tail=2,
    )  # fmt: skip
    yield Work("compress_apply_kernel", 1, 1, reads="1 z", writes="1 output of the cell")


def _compress_backward(m: int, channels: int, pixels: int, weights: bool) -> Iterator[Work]:
    matrix, table = m * channels**2, channels * WIDE
    yield Work("compress_reduce_kernel", 2, 0, 2 * table, 3 * table, 0, "1 z, 1 g, statistics", "A, B, D", tail=2)
    yield Work(
        "compress_gradient_kernel", m + 2, m, matrix * WIDE, matrix * WIDE * weights,
        (2 + 2 * weights) * matrix * pixels, f"{m} nodes, 1 z, 1 g",
        f"{m} g of the nodes" + (", partial gradients" if weights else ""),
    )  # fmt: skip
    if weights:
        yield Work("compress_sum_kernel", 0, 0, matrix * WIDE, matrix * WIDE, 0, "partial gradients", "their sum")


def _forward_group(cell: Topology, group: range, channels: int, pixels: int, itemsize: int) -> Iterator[Work]:
    count = len(group)
    edges = count * cell.slots(group[0])
    table = edges * NUM_NORMED * channels * WIDE
    of_node = group[0] >= cell.inputs
    if not of_node:
        packed = _matrices(cell.edges, channels)
        yield Work(
            "prepare_kernel", count, count, packed * WIDE, packed * itemsize, 0, f"{count} x, weights",
            f"{count} ReLU(x), moments of its pools, packed weights",
        )  # fmt: skip
    yield Work(
        "taps_kernel", count * (1 + of_node), kept(channels) * edges, _matrices(edges, channels) * itemsize, 4 * table,
        2 * _matrices(edges, channels) * pixels,
        f"{count} ReLU(x)" + (", 1 x" if of_node else ", moments of pools") + ", packed weights",
        f"{kept(channels) * edges} y, mean, variance, scale and offset", tail=2,
    )  # fmt: skip


def _backward_group(
    cell: Topology, group: range, channels: int, pixels: int, itemsize: int, weights: bool
) -> Iterator[Work]:
    count, slots = len(group), cell.slots(group[0])
    edges = count * slots
    y, packed = kept(channels) * edges, _matrices(edges, channels)
    dy = NUM_CONVS * edges if weights else y
    once, flops = _anew(edges, channels, pixels, itemsize)
    table = edges * NUM_NORMED * channels * WIDE
    place = INDEX / itemsize
    reads = f"{count} x, {edges} g, {y} y"
    yield Work(
        "reduce_kernel", y + edges + count, 0, once + 3 * table, 3 * table, flops, reads + ", statistics",
        "A, B, D; gradients of mix", tail=2,
    )  # fmt: skip
    yield Work(
        "spread_kernel", count + edges + y, dy + (3 + place) * count + (count if weights else 0), once, 0, 2 * flops,
        reads, f"{dy} dy, {3 * count} of pools and skip, {count} places" + (f", {count} ReLU(x)" if weights else ""),
    )  # fmt: skip
    of_node = group[0] >= cell.inputs
    splits = input_gradient_splits(count * pixels * channels)
    others = (3 + place + of_node) * count  # two pools', the identity's, places, and what a node has from outside
    if weights:
        yield Work(
            "weight_gradient_kernel", count + dy, 0, 0, packed * WIDE, 2 * packed * pixels, f"{count} ReLU(x), {dy} dy",
            "partial weight gradients",
        )  # fmt: skip
    shares = count * splits if splits > 1 else 0  # which the last program of a tile reads back
    sums = _matrices(cell.edges, channels) * WIDE if weights and not of_node else 0
    yield Work(
        "input_gradient_kernel", y + others + shares, count + shares, packed * itemsize + sums, sums,
        2 * packed * pixels - flops,
        f"{y} dy, packed weights, {(3 + of_node) * count} gradients, {count} places"
        + (", partial weight gradients" if sums else ""),
        f"{count} dx" + (f", {shares} shares of it" if shares else "") + (", weight gradients" if sums else ""),
    )  # fmt: skip


def bytes_of(work: Work, channels: int, pixels: int, itemsize: int) -> float:
    """All bytes that a launch reads and writes once."""
    return (work.read + work.written) * pixels * channels * itemsize + work.other_read + work.other_written


def seconds(work: Work, channels: int, pixels: int, itemsize: int, gpu: Gpu) -> float:
    """The estimate of the module's text."""
    moved = bytes_of(work, channels, pixels, itemsize) / (gpu.bandwidth * BANDWIDTH_SHARE)
    return max(moved, work.flops / (gpu.flops * product_share(work.kernel, channels, gpu)), SHORTEST) + work.tail * TAIL


def product_share(kernel: str, channels: int, gpu: Gpu) -> float:
    """Of the data sheet's FLOP a second."""
    issued = ISSUED.get(kernel, {}).get(channels) if gpu.hopper else None
    return PRODUCT_SHARE if issued is None else ISSUE_SHARE * issued / PEAK


@dataclass
class Totals:
    """Of many launches."""

    launches: int = 0
    bytes: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0

    def add(self, work: Sequence[Work], channels: int, pixels: int, itemsize: int, gpu: Gpu) -> None:
        self.launches += len(work)
        self.bytes += sum(bytes_of(w, channels, pixels, itemsize) for w in work)
        self.flops += sum(w.flops for w in work)
        self.seconds += sum(seconds(w, channels, pixels, itemsize, gpu) for w in work)


def iteration(
    space: MacroSpace, beta: MacroArchitecture, batch: int, size: Sequence[int], gpu: Gpu, itemsize: int = 2
) -> dict[str, Totals]:
    """One bilevel iteration's cells (a step of ω and one of α under β), by kernel, and "all"."""
    found: dict[str, Totals] = {"all": Totals()}
    for module in range(space.num_modules):
        for branch, on in enumerate(beta.rows[space.decision_of(module)]):
            if not on:
                continue
            scale, channels = space.scales[branch], space.channels[branch]
            pixels = batch * (size[0] // scale) * (size[1] // scale)
            nodes = {"individual": space.nodes_individual, "aggregation": space.nodes_aggregation}
            cells = [Topology(1, nodes["individual"])] * 2 + [Topology(space.num_branches, nodes["aggregation"])]
            for work in (w for c in cells for weights in (True, False)
                         for w in cell_work(c, channels, pixels, itemsize, weights)):  # fmt: skip
                found.setdefault(work.kernel, Totals()).add([work], channels, pixels, itemsize, gpu)
                found["all"].add([work], channels, pixels, itemsize, gpu)
    return found


def host_calls(space: MacroSpace, beta: MacroArchitecture, batch: int, size: Sequence[int]) -> Counter[str]:
    """Calls that the host makes in a forward and backward pass of the supernet under β, by operator; no optimizer.

    A cell of mixed edges is two calls here and two backward, ``mixed_cell`` and ``compress``: their launches are
    `cell_work`'s.
    """
    from autopose.nas import ArchitectureParameters
    from autopose.nas.alpha import GumbelSettings

    search, draws, calls = SearchSpace.full(space), torch.Generator().manual_seed(0), Calls()
    nothing = {"return_value": ""}
    as_on_a_gpu = [
        mock.patch("autopose.kernels.dispatch._missing_for_triton", **nothing),
        mock.patch("autopose.kernels.mixed_edge.check_finite_weights", **nothing),
        mock.patch("autopose.kernels.resample_sum.check_finite_weights", **nothing),
    ]
    with ExitStack() as stack:
        for replaced in (*as_on_a_gpu, FakeTensorMode(allow_non_fake_inputs=True)):
            stack.enter_context(replaced)
        network = PoseNetwork(search, 17, choice=kernels.KernelChoice("triton", "auto", "triton")).train()
        images = torch.empty(batch, 3, size[1], size[0])
        mixtures = ArchitectureParameters(search).sample(GumbelSettings(), 0.0, draws)
        with calls:
            network(images, beta, mixtures).sum().backward()
    return calls.count


def half_on(space: MacroSpace) -> MacroArchitecture:
    """Every second branch, the first among them."""
    return MacroArchitecture((tuple(b % 2 == 0 for b in range(space.num_branches)),) * space.num_decisions)


@dataclass(frozen=True)
class Search:
    """What an estimate is of: a supernet at a batch and (width, height), and how many iterations are half on."""

    name: str
    space: MacroSpace
    batch: int
    size: Sequence[int]
    iterations: int

    @classmethod
    def of(cls, words: Sequence[str]) -> "Search":
        """Of the words of ``autopose search``; each of ``search.paths`` counts as an iteration, warm-up as the rest.

        Raises:
            UserError: as there, and for a space whose cells are not the model's.
        """
        from autopose.config.composed import composed  # needs Hydra, which a machine that only times has not

        config = composed("search", *words)
        if config.space.aggregation != "cell" or list(config.space.operations) != list(OPS):
            raise UserError(
                f"the model knows cells of {', '.join(OPS)} that also aggregate, so leave space.operations and "
                f"space.aggregation as they are; given are {', '.join(config.space.operations)} and "
                f"{config.space.aggregation}"
            )
        search = config.search
        iterations = search.epochs * search.iterations * search.paths
        return cls(" ".join(words), config.space.macro(), search.batch_size, config.data.image_size, iterations)


PAPER = Search("the paper's supernet", MacroSpace(), 64, (192, 256), 55_000)


def launch_table(channels: int = 16, batch: int = 64) -> list[str]:
    """Every launch of a step of ω of the paper's individual cell, as docs/kernels.md shows it."""
    pixels = batch * 64 * 48 // (channels // 16) ** 2
    rows = ["| # | launch | reads | writes | MB | GFLOP |", "| --- | --- | --- | --- | --- | --- |"]
    for number, w in enumerate(cell_work(Topology(1, 4), channels, pixels, 2, True), 1):
        megabytes = bytes_of(w, channels, pixels, 2) / 1e6
        rows.append(
            f"| {number} | {w.kernel.removesuffix('_kernel')} | {w.reads} | {w.writes} | {megabytes:.1f} | "
            f"{w.flops / 1e9:.1f} |"
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpu", default="h200", help=f"one of {', '.join(GPUS)}")
    parser.add_argument("--batch", type=int, help="people of a step (64, or the search's)")
    parser.add_argument(
        "--iterations", type=int, help="of a whole search, half on (the paper's 55,000, or the search's)"
    )
    parser.add_argument("--launches", action="store_true", help="the launch table of docs/kernels.md")
    parser.add_argument("search", nargs="*", metavar="KEY=VALUE", help="the words of a search of your own")
    words = sys.argv[1:] if arguments is None else arguments
    own = ("gpu=", "batch=", "iterations=")
    asked = parser.parse_args([f"--{word}" if word.startswith(own) else word for word in words])
    if asked.launches:
        print("\n".join(launch_table()))
        return 0
    if asked.gpu not in GPUS:
        print(f"error: no data sheet of {asked.gpu!r}: there are {', '.join(GPUS)}", file=sys.stderr)
        return 2
    try:
        of = (
            Search.of(asked.search)
            if asked.search
            else Search("the paper's supernet", MacroSpace(), 64, (192, 256), 55_000)
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    space, gpu = of.space, GPUS[asked.gpu]
    batch, iterations = asked.batch or of.batch, asked.iterations or of.iterations
    size = "x".join(map(str, sorted(of.size, reverse=True)))
    print(f"{asked.gpu}: one bilevel iteration of {of.name}, {size}, batch {batch}, bf16; an estimate")
    for name, beta in (("all on", space.all_on()), ("half on", half_on(space))):
        found = iteration(space, beta, batch, of.size, gpu)
        calls = host_calls(space, beta, 1, of.size)
        print(f"\n{name}: the cells of mixed edges\n\n| kernel | launches | GB | TFLOP | ms |")
        print("| --- " * 5 + "|")
        for kernel, totals in sorted(found.items(), key=lambda item: -item[1].seconds):
            print(
                f"| {kernel.removesuffix('_kernel')} | {totals.launches} | {totals.bytes / 1e9:.1f} | "
                f"{totals.flops / 1e12:.2f} | {totals.seconds * 1e3:.1f} |"
            )
        rest = sum(count for op, count in calls.items() if not op.startswith(CELL_CALLS))
        print(f"\nthe host's other calls in one of the two steps: {rest}, most of {dict(calls.most_common(6))}")
        host, card = host_of(space, beta), found["all"].seconds
        print(
            f"the host of the iteration once graphed: {host.replays} replays and {host.calls.total()} calls, "
            f"{1e3 * host.seconds:.1f} ms at {1e6 * REPLAY:.0f} and {1e6 * CALL:.0f} us each, "
            f"{host.seconds / card:.0%} of the card's {1e3 * card:.1f} ms for the cells"
        )
    whose = "the card for these cells" if card > host.seconds else "the host, for which the card waits"
    hours = max(card, host.seconds) * iterations / 3600
    print(f"{iterations} iterations half on: {hours:.2g} hours of {whose}, an estimate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
