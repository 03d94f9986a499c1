"""Settings that must stand before any test imports Triton; the smallest runs and the set they see; real data."""

import os
from pathlib import Path

import pytest
import torch

from autopose.runs.surroundings import surroundings_kept

if not torch.cuda.is_available():
    # Triton decides at its import whether kernels run compiled or interpreted.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Tensors of tests are tiny: one thread is the fastest, above all where something else runs beside the tests.
torch.set_num_threads(1)


def _skip_without_gpu(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):  # not keywords: those hold the checkout's folder as well
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real data that AUTOPOSE_TEST_DATA names; without one (unset or empty) its tests are skipped."""
    folder = os.environ.get("AUTOPOSE_TEST_DATA")
    if not folder:
        pytest.skip("AUTOPOSE_TEST_DATA is not set: no real data")
    return Path(folder)


@pytest.fixture(autouse=True)
def _surroundings_are_kept():
    """A test that opens a run's log, or sets threads or determinism, gives them back to the test after it."""
    with surroundings_kept():
        yield


@pytest.fixture(scope="session")
def small_set(tmp_path_factory):
    # Here and not above: kernels are tested on machines without hydra and what else a run needs.
    from bench import small_runs

    return small_runs.draw_set(tmp_path_factory.mktemp("small") / "set")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_set):
    """A search and a training that nothing disturbed: task -> (folder, outcome)."""
    from bench import small_runs

    found = {}
    for task in ("search", "train"):
        folder = tmp_path_factory.mktemp("undisturbed") / task
        assert small_runs.run(task, small_runs.composed(task, small_set), folder) == 0, small_runs.log_of(folder)
        found[task] = folder, small_runs.outcome(folder)
    return found


# Files whose tests take seconds each (whole runs, compilations, interpreted kernels); `make quick` leaves them out.
SLOW = (
    "config/test_quoting.py", "config/test_composed.py", "data/convert", "data/test_synthetic.py", "deploy", "engine",
    "data/test_mat.py", "data/test_data_checks.py", "kernels/test_counts.py", "models/test_operations.py",
    "kernels/test_compile.py", "kernels/test_mixed_edge.py", "kernels/test_mixed_edge_operator.py",
    "kernels/test_mixed_edge_processes.py", "kernels/test_mixed_edge_triton.py", "kernels/test_resample_sum.py",
    "nas/test_fused_search.py",
    "nas/test_planted_cell.py", "report/test_flops.py", "report/test_page.py", "runs/test_memory.py", "test_api.py",
    "test_commands.py", "test_console.py", "test_extend.py", "test_functions.py", "test_fuzz.py", "test_help.py",
    "test_notebook.py", "test_own_data.py", "test_packaging.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    _skip_without_gpu(items)
    root = Path(__file__).parent
    for item in items:
        place = Path(item.path).relative_to(root).as_posix()
        if any(place == slow or place.startswith(f"{slow}/") for slow in SLOW):
            item.add_marker(pytest.mark.slow)
