"""Batches: a function of seed and step, whatever the workers, the ranks or the step that a run resumes from."""

import os
import signal

import numpy as np
import pytest
import torch

from autopose.data.augment import PRESETS
from autopose.data.coco import load_coco
from autopose.data.dataset import IMAGENET_MEAN, IMAGENET_STD, PoseDataset
from autopose.data.records import DataSource
from autopose.data.stream import BatchStream, Loader, LoaderFailed, evaluation_loader, place
from autopose.errors import UserError


@pytest.fixture
def dataset(coco_document, coco_writer):
    """Seven persons."""
    first = coco_document["annotations"][0]
    coco_document["annotations"] = [first | {"id": n, "image_id": 10 + n % 3} for n in range(1, 8)]
    annotations = load_coco(DataSource(coco_writer(coco_document), "val"))
    return PoseDataset(annotations, (32, 32), PRESETS["hrnet_coco"])


def test_every_epoch_is_a_permutation():
    keys = [key for batch in BatchStream(10, 4, 0, 0, 10) for key in batch]
    indices = np.array([index for index, _ in keys]).reshape(4, 10)
    assert (np.sort(indices, axis=1) == np.arange(10)).all()
    assert len({tuple(row) for row in indices}) == 4
    assert [seed for _, seed in keys] == [(0, position) for position in range(40)]


def test_seeds_differ():
    assert list(BatchStream(50, 10, 0, 0, 2)) != list(BatchStream(50, 10, 1, 0, 2))


def test_resuming_needs_the_step_only():
    whole = list(BatchStream(7, 3, 5, 0, 20))
    for step in (1, 2, 3, 13):
        assert list(BatchStream(7, 3, 5, step, 20 - step)) == whole[step:]
    assert BatchStream(7, 3, 5, 0, 20).batch(13) == whole[13]


@pytest.mark.parametrize("world_size", [2, 3, 6])
def test_ranks_share_the_same_global_batch(world_size):
    whole = list(BatchStream(11, 6, 3, 4, 8))
    shares = [list(BatchStream(11, 6, 3, 4, 8, rank, world_size)) for rank in range(world_size)]
    assert [sum(parts, []) for parts in zip(*shares, strict=True)] == whole


def test_batch_larger_than_the_set():
    (batch,) = BatchStream(3, 8, 0, 0, 1)
    assert sorted(index for index, _ in batch[:3]) == [0, 1, 2] == sorted(index for index, _ in batch[3:6])
    assert len(set(batch)) == 8  # never the same augmentation twice


def test_long_streams_are_lazy():
    stream = BatchStream(1000, 32, 0, 10**9, 10**12)
    assert len(stream) == 10**12 and len(next(iter(stream))) == 32


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_same_batches_with_any_number_of_workers(dataset, workers):
    alone = list(Loader(dataset, BatchStream(7, 3, 2, 0, 6)))
    helped = list(Loader(dataset, BatchStream(7, 3, 2, 0, 6), workers=workers))
    resumed = list(Loader(dataset, BatchStream(7, 3, 2, 4, 2), workers=workers))
    assert len(alone) == len(helped) == 6
    for a, b in zip(alone + alone[4:], helped + resumed, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_ranks_concatenate_to_the_single_process_batch(dataset):
    whole = list(Loader(dataset, BatchStream(7, 4, 2, 3, 3)))
    first, second = (list(Loader(dataset, BatchStream(7, 4, 2, 3, 3, rank, 2))) for rank in range(2))
    for a, b, c in zip(whole, first, second, strict=True):
        assert all(torch.equal(a[name], torch.cat([b[name], c[name]])) for name in a)


def test_loading_leaves_the_random_state_alone(dataset):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for workers in (0, 1):
        list(Loader(dataset, BatchStream(7, 3, 2, 0, 2), workers=workers))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("batch_size", "world_size"), [(3, 1), (4, 2), (10, 3), (1, 9)])
def test_evaluation_sees_every_sample_once_in_order(dataset, batch_size, world_size):
    seen = []
    for rank in range(world_size):
        for batch in evaluation_loader(dataset, batch_size, rank=rank, world_size=world_size):
            assert len(batch["index"]) <= batch_size
            seen += batch["index"].tolist()
            for row, index in enumerate(batch["index"].tolist()):
                assert torch.equal(batch["image"][row], dataset[index, None]["image"])
    assert seen == list(range(7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4, 0, 0, 1), "empty"),
        ((8, 4, 0, 0, 1, 0, 3), "divide"),
        ((8, 0, 0, 0, 1), "batch size"),
        ((8, 4, -1, 0, 1), "seed"),
        ((8, 4, 0, -1, 1), "bad stream"),
    ],
)
def test_unusable_streams(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        BatchStream(*arguments)
    assert isinstance(error.value, UserError) or message == "bad stream"


class Broken:
    """Gives sample 0, answers 1 with a user's mistake and kills its worker at 2."""

    def __getitem__(self, key):
        if key == 1:
            raise UserError("the image 'x.png' cannot be read: gone")
        if key == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"index": key}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_mistake_met_by_a_worker_arrives_as_its_sentence(workers):
    with pytest.raises(UserError) as caught:
        list(Loader(Broken(), [[0], [0, 1]], workers=workers))
    assert str(caught.value) == "the image 'x.png' cannot be read: gone"


def test_a_killed_worker_is_one_sentence_with_a_remedy():
    with pytest.raises(LoaderFailed, match="use fewer data.workers") as caught:
        list(Loader(Broken(), [[0], [2]], workers=1))
    assert "\n" not in str(caught.value)


def test_placed_images_are_normalised_channels_last_and_other_keys_stay_behind(dataset):
    batch = next(iter(Loader(dataset, BatchStream(7, 3, 0, 0, 1))))
    placed = place(batch, torch.device("cpu"))
    assert batch["image"].dtype == torch.uint8 and placed["image"].dtype == torch.float32
    assert placed["image"].is_contiguous(memory_format=torch.channels_last)
    expected = (batch["image"].numpy() / 255.0 - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(placed["image"].permute(0, 2, 3, 1), expected, atol=1e-6)
    assert set(placed) == {"image", "target", "target_weight"}
