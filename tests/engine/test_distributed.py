"""Two processes on gloo: the same search and training as one, and torchrun's restart resumes exactly."""

import pytest
import torch

from autopose.data.stream import evaluation_loader
from bench import distributed, small_runs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def search_rows(root, small_set):
    return distributed.side_by_side("search", root, small_set)


@pytest.fixture(scope="module")
def train_rows(root, small_set):
    return distributed.side_by_side("train", root, small_set)


def test_two_processes_search_as_one(search_rows):
    assert search_rows["ranks_agree_to_the_bit"]
    assert search_rows["same_architecture"]
    assert search_rows["largest_relative_difference_of_curves"] < 1e-4


def test_two_processes_train_as_one(train_rows):
    assert train_rows["largest_relative_difference_of_curves"] < 1e-3


@pytest.mark.parametrize("task", distributed.TASKS)
def test_restart_after_a_rank_died_resumes_exactly(task, root, small_set, request):
    request.getfixturevalue(f"{task}_rows")
    row = distributed.elastic(task, root, small_set, root / f"{task}_2", 9)
    assert row["resumed"]
    assert row["different"] == []


def test_another_number_of_processes_is_refused(root, small_set, search_rows):
    folder = root / "search_2"
    config = small_runs.composed("search", small_set, *distributed.OVERRIDES["search"], "resume=auto")
    assert small_runs.run("search", config, folder) == 2
    assert "started with 2 process(es) and cannot be resumed with 1" in small_runs.log_of(folder)


@pytest.mark.parametrize(("samples", "ranks"), [(7, 2), (1, 2), (5, 3)])
def test_uneven_shards_hold_every_sample_once(samples, ranks):
    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return samples

        def __getitem__(self, key):
            return {"index": key[0]}

    seen = [
        int(i)
        for rank in range(ranks)
        for batch in evaluation_loader(Numbers(), 2, 0, False, rank, ranks)
        for i in batch["index"]
    ]
    assert seen == list(range(samples))
