"""Crops and targets made in batches on the device are those of the workers, for the same draws, borders included."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from autopose.data.augment import PRESETS, Augmentation
from autopose.data.coco import load_coco
from autopose.data.crop_cache.build import crop_cache
from autopose.data.crop_cache.regions import Margin
from autopose.data.crop_cache.store import CacheDamaged
from autopose.data.dataset import PoseDataset
from autopose.data.device_crops import UncutDataset
from autopose.data.records import DataSource
from autopose.data.stream import BatchStream, Loader, place
from autopose.data.synthetic.dataset import synthetic_dataset

SIZE = (48, 64)
CPU = torch.device("cpu")
# Crops of twice the person's box turned by any angle: most reach beyond the picture.
WIDE = Augmentation(flip=0.5, rotation=180, scale=0.9, half_body=0.5, half_body_joints=4)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = synthetic_dataset(tmp_path_factory.mktemp("device") / "set", 0, 1, 6, (96, 80))
    return load_coco(DataSource(root=root, split="val"), SIZE[0] / SIZE[1])


def assert_same_batches(dataset: PoseDataset, uncut: UncutDataset, steps: int, workers: int = 0, first: int = 0):
    batches = [BatchStream(len(dataset), 5, 3, first, steps) for _ in range(2)]
    for plain, raw in zip(Loader(dataset, batches[0]), Loader(uncut, batches[1], workers), strict=True):
        expected, found = place(plain, CPU), place(raw, CPU)
        assert plain["index"].tolist() == raw["index"].tolist()
        for name, value in expected.items():
            assert found[name].shape == value.shape and found[name].dtype == value.dtype
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-3)
        assert found["image"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("augmentation", [PRESETS["none"], PRESETS["paper"], PRESETS["hrnet_coco"], WIDE])
def test_batches_are_the_workers(drawn, augmentation, udp):
    dataset = PoseDataset(drawn, SIZE, augmentation, sigma=1.3, udp=udp)
    assert_same_batches(dataset, UncutDataset(dataset), 8)


def test_from_a_crop_cache_by_workers_and_from_a_step_on(drawn, tmp_path):
    cache = crop_cache(tmp_path / "val", drawn, Margin.of(WIDE, SIZE))
    cached = UncutDataset(PoseDataset(replace(drawn, crops=cache), SIZE, WIDE))
    assert_same_batches(PoseDataset(drawn, SIZE, WIDE), cached, 3, workers=2, first=7)


@pytest.mark.parametrize("udp", [False, True])
def test_the_second_batch_copies_no_numbers_of_the_host(drawn, udp, monkeypatch):
    """On a GPU the host would wait there for every step that it has launched."""
    uncut = UncutDataset(PoseDataset(drawn, SIZE, udp=udp))
    first, second = Loader(uncut, BatchStream(len(uncut), 5, 3, 0, 2))
    place(first, CPU)
    monkeypatch.setattr(torch, "tensor", None)
    place(second, CPU)


def test_real_pictures(real_data):
    annotations = load_coco(DataSource(f"{real_data}/coco-mini", "val2017"), SIZE[0] / SIZE[1])
    dataset = PoseDataset(annotations, (192, 256), PRESETS["hrnet_coco"])
    assert_same_batches(dataset, UncutDataset(dataset), 6)


@pytest.mark.parametrize("sigma", [0.75, 2])
def test_targets_at_and_beyond_every_border(drawn, sigma):
    """Joints on the cell's halves, and windows that touch or leave the heatmap on each side."""
    places = np.array([-40, -26.5, -26, -25, -2, 0, 1.9, 2, 23, 47.9, 48, 70, 74, 90.0])
    rng = np.random.default_rng(0)
    persons = [
        replace(person, joints=rng.choice(places, person.joints.shape), center=np.array([24.0, 32]),
                scale=np.array([SIZE[0], SIZE[1]]) / 200, visible=np.arange(len(person.visible)) % 3)
        for person in drawn.persons * 3
    ]  # fmt: skip
    dataset = PoseDataset(replace(drawn, persons=persons), SIZE, sigma=sigma)
    assert_same_batches(dataset, UncutDataset(dataset), 3)


def test_a_person_outside_of_the_picture_is_black(drawn):
    away = replace(drawn.persons[0], center=np.array([-4000.0, 9000]))
    dataset = PoseDataset(replace(drawn, persons=[away] * 5), SIZE, PRESETS["paper"])
    assert_same_batches(dataset, UncutDataset(dataset), 1)
    assert UncutDataset(dataset)[0, 1]["pixels"].numel() == 0


def test_a_flipped_byte_of_the_cache_is_one_sentence_from_a_worker_too(drawn, tmp_path):
    cache = crop_cache(tmp_path / "val", drawn, Margin.of(PRESETS["paper"], SIZE))
    shard = tmp_path / "val" / "shard_000.bin"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    uncut = UncutDataset(PoseDataset(replace(drawn, crops=cache), SIZE, PRESETS["paper"]))
    with pytest.raises(CacheDamaged, match="are not those written"):
        list(Loader(uncut, BatchStream(len(uncut), len(uncut), 0, 0, 1), workers=1))
