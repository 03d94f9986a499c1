"""Tile sizes of the convolutions' products, measured on this GPU: ``python -m bench.tune [--write]``.

Candidates of every product (`bench.products`) are first compiled and checked against the committed tiles, in processes
side by side that fill Triton's cache, those nearest to the committed ones first; one that faults costs its own process
and no other candidate. Those that are right are then timed, one after the other, by replays of a CUDA graph over copies
that no cache holds. Rows go to $OUT/tune_GPU.csv (default bench/results) as they come. ``--write`` puts the best into
kernels/_triton/tiles.json. ``--rehearse`` does all of it but the GPU: tiny shapes, two candidates, the interpreter.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from itertools import product as combinations
from pathlib import Path
from threading import Lock, Timer

import torch

from autopose.kernels._triton import launch
from autopose.runs.machine import machine
from autopose.runs.timing import Interleaved
from bench.cases import CHANNELS, SIZES
from bench.products import GROUPS, PRODUCTS, Product, candidates, committed
from bench.providers import graphed
from tests.numerics import FLOOR, relative_error

COLUMNS = ("product", "channels", "edges", "setting", "ms", "status", "committed", "gpu", "torch")
CASE = ("product", "channels", "edges")
ROUNDS = 10
CHECKING = 0.6
"""Share of the time for compiling and checking, so that what is compiled by then is timed."""

Item = dict
"""A setting of a case: product, channels, edges, setting; a row has its status, and ms where it was timed, as well."""


def case_of(item: Item) -> tuple:
    """Product, channels and edges."""
    return tuple(item[name] for name in CASE)


def problem(case: tuple, rehearse: bool, copies: int | None = None) -> Product:
    """The tensors of a case."""
    shape = ((2, 3), 1) if rehearse else (SIZES[CHANNELS.index(case[1])], 64)
    return Product(*case, *shape, "cpu" if rehearse else "cuda", copies)


def check(items: list[Item], rehearse: bool) -> Iterator[str]:
    """Of each item "right", "wrong: ..." or "too large: ...", as JSON."""
    from triton.runtime.errors import OutOfResources

    for case, settings in groupby(items, case_of):
        made = problem(case, rehearse, copies=1)
        truth = made.result(committed(*case[:2]))
        for item in settings:
            try:
                found = made.result(item["setting"])
            except OutOfResources as error:
                yield json.dumps({"status": f"too large: {error}"})
                continue
            worst = max(relative_error(a, b) for a, b in zip(found, truth, strict=True))
            right = worst <= FLOOR[torch.bfloat16]
            yield json.dumps({"status": "right" if right else f"wrong: off by {worst:.1e}"})


def clock(items: list[Item], rehearse: bool) -> Iterator[str]:
    """Of each item the median ms of a call, as JSON."""
    for case, settings in groupby(items, case_of):
        made = problem(case, rehearse, copies=2 if rehearse else None)
        for item in settings:
            run = made.run(item["setting"])

            def once(run=run, made=made) -> list:
                return [run(copy) for copy in range(made.copies)]

            timer = Interleaved({"": once if rehearse else graphed(once)}, gpu=not rehearse)
            timer.warm_up(1)
            for _ in range(1 if rehearse else ROUNDS):
                timer.round()
            yield json.dumps({"status": "timed", "ms": timer.timings()[""].p50_ms / made.copies})


WORK = {"check": check, "clock": clock}


def in_processes(what: str, items: list[Item], rehearse: bool, seconds: float, keep: Callable[[Item], None]) -> None:
    """``keep`` every item's row of ``WORK[what]`` when it is known.

    An item at which a process ends gets its exit code; another process takes those after it.
    """
    rest, end = list(items), time.monotonic() + seconds
    while rest:
        words = [sys.executable, "-m", "bench.tune", "--child", what, *["--rehearse"] * rehearse]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            watch = Timer(max(0.0, end - time.monotonic()), child.kill)
            watch.start()
            child.stdin.write(json.dumps(rest))
            child.stdin.close()
            for line in child.stdout:
                keep(rest.pop(0) | json.loads(line))
            code = child.wait()
            watch.cancel()
        if time.monotonic() >= end:
            for item in rest:
                keep(item | {"status": "no time was left"})
            return
        if rest:
            keep(rest.pop(0) | {"status": f"faulty: exit code {code}"})


def best(timed: list[dict]) -> dict[int, dict[str, dict]]:
    """Of each width, a setting a product: least ms over all groups of edges, the same columns for all."""
    sums: dict[tuple, dict[str, float]] = {}
    counts: dict[tuple, dict[str, int]] = {}
    for row in timed:
        key, name = (row["channels"], row["setting"]["columns"], row["product"]), json.dumps(row["setting"])
        sums.setdefault(key, {})[name] = sums.get(key, {}).get(name, 0.0) + row["ms"]
        counts.setdefault(key, {})[name] = counts.get(key, {}).get(name, 0) + 1
    found = {}
    for channels in dict.fromkeys(key[0] for key in sums):
        totals = {}
        for columns in dict.fromkeys(key[1] for key in sums if key[0] == channels):
            keys = [(channels, columns, product) for product in PRODUCTS]
            whole = [{n: ms for n, ms in sums.get(k, {}).items() if counts[k][n] == len(GROUPS)} for k in keys]
            if all(whole):
                names = [min(of_product, key=of_product.get) for of_product in whole]
                totals[columns] = sum(w[n] for w, n in zip(whole, names, strict=True)), names
        if totals:
            _, names = min(totals.values())
            found[channels] = {p: json.loads(n) for p, n in zip(PRODUCTS, names, strict=True)}
    return found


def cases(rehearse: bool) -> list[list[Item]]:
    """The items of every case, the committed setting first, then those that differ from it least."""
    found = []
    for product, channels, edges in combinations(PRODUCTS, CHANNELS[:1] if rehearse else CHANNELS, GROUPS):
        own = committed(product, channels)
        others = sorted(candidates(product), key=lambda s, own=own: sum(s[name] != own[name] for name in own))
        settings = [own, *(s for s in others if s != own)][: 2 if rehearse else None]
        found.append([dict(zip(CASE, (product, channels, edges), strict=True), setting=s) for s in settings])
    return found


def tune(path: Path, rehearse: bool, workers: int, seconds: float) -> list[Item]:
    """Check, then time; all rows, which stand in ``path`` as well, as they come."""
    started, info, rows, listed = time.monotonic(), machine(), [], cases(rehearse)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file, ThreadPoolExecutor(workers) as pool:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        lock = Lock()

        def keep(row: Item) -> None:
            with lock:
                rows.append(row)
                if row["status"] == "right":
                    return
                own = row["setting"] == committed(row["product"], row["channels"])
                line = row | {"setting": json.dumps(row["setting"]), "committed": own}
                writer.writerow(line | {"gpu": info["gpu"], "torch": info["torch"]})
                file.flush()

        share = seconds * CHECKING / -(-len(listed) // workers)
        list(pool.map(lambda items: in_processes("check", items, rehearse, share, keep), listed))
        right = [{n: row[n] for n in (*CASE, "setting")} for row in rows if row["status"] == "right"]
        order = [case_of(items[0]) for items in listed]
        right.sort(key=lambda item: order.index(case_of(item)))
        in_processes("clock", right, rehearse, seconds - (time.monotonic() - started), keep)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the best into the committed table")
    parser.add_argument("--workers", type=int, default=min(12, os.cpu_count() or 1), help="processes that compile")
    parser.add_argument("--seconds", type=float, default=480.0, help="of compiling and timing in all")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: tiny shapes, the interpreter")
    parser.add_argument("--child", choices=WORK, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        for line in WORK[asked.child](json.load(sys.stdin), asked.rehearse):
            print(line, flush=True)
        return 0
    if not torch.cuda.is_available() and not asked.rehearse:
        print("error: tuning needs a GPU, and this machine has none (--rehearse goes without)", file=sys.stderr)
        return 2
    name = "rehearsal" if asked.rehearse else machine()["gpu"].replace(" ", "_").lower()
    folder = Path(os.environ.get("OUT") or Path(__file__).parent / "results")
    rows = tune(folder / f"tune_{name}.csv", asked.rehearse, asked.workers, asked.seconds)
    found, table = best([row for row in rows if row["status"] == "timed"]), launch.tile_table()
    for channels, of_product in found.items():
        for product, setting in of_product.items():
            print(f"{product} C={channels}: {setting} (committed: {committed(product, channels)})")
    if not found:
        print("no width was timed whole: more --seconds, or see the statuses in the table", file=sys.stderr)
    if asked.write and not asked.rehearse:
        for channels, of_product in found.items():
            for product, setting in of_product.items():
                table["columns"][str(channels)] = setting["columns"]
                table[product][str(channels)] = {n: v for n, v in setting.items() if n != "columns"}
        launch.TILES.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
