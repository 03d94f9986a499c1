"""Tile sizes of the convolutions' products, measured on this GPU: ``python -m bench.tune [--write]``.

The forward product, the input gradient and the weight gradient of an individual cell's first source (four edges, bf16,
batch 64) run with every candidate at every width of the paper's supernet. A candidate whose result differs from that of
the committed tiles is not timed. ``--write`` puts the fastest into kernels/_triton/tiles.json; a table goes to standard
output and to $OUT/tune_GPU.csv (default bench/results). A few minutes, most of them the compiler's.
"""

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from autopose.kernels._triton import launch
from autopose.kernels._triton.mixed_edge.products import TritonConvolutions
from autopose.runs.machine import machine
from autopose.runs.timing import Interleaved
from bench.cases import CELLS, CHANNELS, SIZES
from tests.numerics import FLOOR, relative_error

COLUMNS = ("product", "channels", "setting", "p50_ms", "committed", "gpu", "torch")
ROUNDS = 20


def candidates(product: str) -> Iterator[dict]:
    """Rows of the tile table to try."""
    for rows, warps, stages in itertools.product((64, 128), (4, 8), (1, 2, 3)):
        if product != "weight":
            yield {"rows": rows, "num_warps": warps, "num_stages": stages}
    for pixels, warps, stages in itertools.product((32, 64, 128), (4, 8), (1, 2, 3)):
        if product == "weight":
            yield {"rows": 128, "pixels": pixels, "num_warps": warps, "num_stages": stages}


Run = Callable[[], list[Tensor]]


def products(channels: int, size: tuple[int, int], batch: int, device: str) -> dict[str, Callable[[], Run]]:
    """Each product as what makes a function, with the tile table's present sizes, that makes its results anew."""
    (inputs, nodes), dtype = CELLS["individual_cell"], torch.bfloat16
    cell = launch.Cell(inputs, nodes, batch, *size, channels)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    active = draw(1, batch, *size, channels).relu().to(dtype)
    weights = tuple(draw(cell.edges, channels, channels, k, k) / k / channels**0.5 for k in (1, 3, 5))
    y = torch.zeros(cell.edges, 3, cell.pixels, channels, dtype=dtype, device=device)
    dy = draw(1, nodes, 3, cell.pixels * channels).to(dtype)
    plain = TritonConvolutions(cell, dtype, (False,) * 3)
    trained = TritonConvolutions(cell, dtype, (True,) * 3)
    packed, gradients = plain.weights(weights, active), [torch.zeros_like(w) for w in weights]

    def forward() -> Run:
        group = plain.group(range(1))

        def run() -> list[Tensor]:
            y.zero_()
            group.forward(active, packed, y)
            return [y]

        return run

    def input_gradient() -> Run:
        group = plain.group(range(1))
        return lambda: group.backward(None, packed, dy, [None] * 3)

    def weight_gradient() -> Run:
        group = trained.group(range(1))

        def run() -> list[Tensor]:
            for gradient in gradients:
                gradient.zero_()
            group.weights(active, dy, gradients)
            return [gradient[cell.out_of(0)] for gradient in gradients]

        return run

    return {"forward": forward, "input": input_gradient, "weight": weight_gradient}


def tune(product: str, make: Callable[[], Run], row: dict, tried: list[dict], gpu: bool) -> dict[str, float]:
    """Median ms of every candidate that runs and is right, by its JSON; ``row`` of the tile table ends as it began."""
    from triton.runtime.errors import OutOfResources

    committed = dict(row)
    truth = [t.clone() for t in make()()]
    functions = {}
    for setting in [committed, *(s for s in tried if s != committed)]:
        row.update(setting)
        run = make()
        try:
            found = run()
        except OutOfResources as error:
            print(f"{product} {setting}: {error}", file=sys.stderr)
            continue
        errors = [relative_error(a, b) for a, b in zip(found, truth, strict=True)]
        if not max(errors) <= FLOOR[torch.bfloat16]:
            print(f"{product} {setting}: wrong, off by {max(errors):.1e}", file=sys.stderr)
            continue
        functions[json.dumps(setting)] = run
    row.update(committed)
    timer = Interleaved(functions, gpu)
    timer.warm_up(2)
    for _ in range(ROUNDS if gpu else 1):
        timer.round()
    return {name: timing.p50_ms for name, timing in timer.timings().items()}


def main(arguments=None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the fastest into the committed table")
    write = parser.parse_args(arguments).write
    if not torch.cuda.is_available():
        print("error: tuning needs a GPU, and this machine has none", file=sys.stderr)
        return 2
    table, info, lines = launch.tile_table(), machine(), []
    for channels, size in zip(CHANNELS, SIZES, strict=True):
        for product, make in products(channels, size, 64, "cuda").items():
            row = table[product][str(channels)]
            committed = json.dumps(row)
            found = tune(product, make, row, list(candidates(product)), gpu=True)
            best = min(found, key=found.get)
            print(f"{product} C={channels}: {found[best]:.3f} ms {best} (committed: {found[committed]:.3f} ms)")
            for setting, ms in sorted(found.items(), key=lambda item: item[1]):
                values = (product, channels, setting, f"{ms:.4f}", setting == committed, info["gpu"], info["torch"])
                lines.append(dict(zip(COLUMNS, values, strict=True)))
            row.update(json.loads(best))
    folder = Path(os.environ.get("OUT") or Path(__file__).parent / "results")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"tune_{info['gpu'].replace(' ', '_').lower()}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    if write:
        launch.TILES.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
