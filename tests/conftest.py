"""Settings that must stand before any test imports Triton; the smallest runs and the set they see."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    # Triton decides at its import whether kernels run compiled or interpreted.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Tensors of tests are tiny: one thread is the fastest, above all where something else runs beside the tests.
torch.set_num_threads(1)

from bench import small_runs  # noqa: E402


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def small_set(tmp_path_factory):
    return small_runs.draw_set(tmp_path_factory.mktemp("small") / "set")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_set):
    """A search and a training that nothing disturbed: task -> (folder, outcome)."""
    found = {}
    for task in ("search", "train"):
        folder = tmp_path_factory.mktemp("undisturbed") / task
        assert small_runs.run(task, small_runs.composed(task, small_set), folder) == 0, small_runs.log_of(folder)
        found[task] = folder, small_runs.outcome(folder)
    return found
