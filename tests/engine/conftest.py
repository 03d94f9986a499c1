"""The smallest runs and the set they see."""

import pytest

from bench import small_runs


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
