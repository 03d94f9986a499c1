"""Options and the report of the kernels' benchmark.

``OUT``: folder of the results (default bench/results). ``AUTOPOSE_BENCH_SECONDS``: no new case begins after so many
seconds (default 450). ``AUTOPOSE_BENCH_APPEND=1``: rows are added to the results that are there.
"""

import importlib.util
import os
import re
import time
from pathlib import Path

import pytest
import torch

from autopose.runs.machine import machine
from bench import report
from bench.ceilings import measure_ceilings

_RESULTS = pytest.StashKey[report.Results]()


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="torch.compile on every case: takes hours on a CPU")


def device_name() -> str:
    """Short name of the device, which names the files of its results: cpu, h200, rtx_4090, ..."""
    if not torch.cuda.is_available():
        return "cpu"
    name = re.sub(r"(?i)nvidia|geforce|tesla", "", torch.cuda.get_device_name())
    return re.sub(r"\W+", "_", name.strip()).lower()


class Pedantic:
    """What the benchmark asks of pytest-benchmark, for a machine that has none; the timing is `Interleaved`'s own."""

    def __init__(self):
        self.extra_info: dict = {}

    @staticmethod
    def pedantic(function, rounds: int) -> None:
        for _ in range(rounds):
            function()


if importlib.util.find_spec("pytest_benchmark") is None:

    @pytest.fixture
    def benchmark() -> Pedantic:
        return Pedantic()


@pytest.fixture(scope="session")
def results(request) -> report.Results:
    folder = Path(os.environ.get("OUT") or Path(__file__).parent / "results")
    found = report.Results(folder / f"{device_name()}.csv", os.environ.get("AUTOPOSE_BENCH_APPEND") == "1")
    request.config.stash[_RESULTS] = found
    return found


@pytest.fixture(scope="session")
def hardware() -> dict:
    """Columns of every row."""
    found = machine() | {"threads": torch.get_num_threads(), "triton": ""}
    if importlib.util.find_spec("triton") is not None:
        import triton

        found["triton"] = triton.__version__
    return found


@pytest.fixture(scope="session")
def ceilings():
    """Measured ceilings of the GPU; None on a CPU."""
    return measure_ceilings() if torch.cuda.is_available() else None


@pytest.fixture(scope="session")
def deadline() -> float:
    """When, on time.monotonic's clock, no new case begins."""
    return time.monotonic() + float(os.environ.get("AUTOPOSE_BENCH_SECONDS", "450"))


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(_RESULTS, None)
    if found is None or not found.rows:
        return
    kind = (
        "GPU" if torch.cuda.is_available() else "CPU figures (no GPU here); other work on the machine slows all alike"
    )
    terminalreporter.write_sep("-", f"kernels: median ms (times faster than the reference), {kind}")
    terminalreporter.write_line(report.table(found.rows))
    terminalreporter.write_line(f"rows: {found.path}")
    if importlib.util.find_spec("matplotlib") is not None and any(report.in_chart(r) for r in found.rows):
        picture = found.path.with_suffix(".png")
        report.chart(report.read(found.path), picture)
        terminalreporter.write_line(f"chart: {picture}")
