"""The crop cache: the same samples as from the pictures, to the bit; and what becomes of a cache that is not whole."""

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from autopose.data.augment import PRESETS, Augmentation
from autopose.data.coco import load_coco
from autopose.data.crop_cache import build as building
from autopose.data.crop_cache.build import crop_cache
from autopose.data.crop_cache.regions import Margin, clipped, region, shared
from autopose.data.crop_cache.store import CacheDamaged, CropCache
from autopose.data.dataset import PoseDataset
from autopose.data.records import DataSource
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.errors import UserError

SIZE = (48, 64)
TURNED = Augmentation(flip=0.5, rotation=180, scale=0.9, half_body=0.5, half_body_joints=4)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = synthetic_dataset(tmp_path_factory.mktemp("cache") / "set", 0, 1, 5, (96, 80))
    return load_coco(DataSource(root=root, split="val"), SIZE[0] / SIZE[1])


@pytest.fixture
def made(drawn, tmp_path):
    """Annotations whose crops come from a cache with the paper's margin."""
    folder = tmp_path / "val"
    return replace(drawn, crops=crop_cache(folder, drawn, Margin.of(PRESETS["paper"], SIZE)))


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(torch.as_tensor(one[k]), torch.as_tensor(other[k])) for k in one)


def assert_same_samples(annotations, folder, augmentation, udp, draws, monkeypatch):
    cache = crop_cache(folder, annotations, Margin.of(augmentation, SIZE))
    # What lies outside of a region is anything: it must never be seen.
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, 77, dtype))
    plain = PoseDataset(annotations, SIZE, augmentation, udp=udp)
    cached = PoseDataset(replace(annotations, crops=cache), SIZE, augmentation, udp=udp)
    for index in range(len(plain)):
        for seed in (None, *range(draws)):
            assert same(plain[index, seed], cached[index, seed]), (index, seed)


@pytest.mark.parametrize("udp", [False, True])
@pytest.mark.parametrize("augmentation", [PRESETS["none"], PRESETS["paper"], PRESETS["hrnet_coco"], TURNED])
def test_samples_are_those_of_the_pictures_to_the_bit(drawn, tmp_path, augmentation, udp, monkeypatch):
    assert_same_samples(drawn, tmp_path / "val", augmentation, udp, 25, monkeypatch)


@pytest.mark.parametrize("preset", ["paper", "hrnet_coco"])
def test_real_pictures(tmp_path, preset, monkeypatch, real_data):
    annotations = load_coco(DataSource(f"{real_data}/coco-mini", "val2017"), SIZE[0] / SIZE[1])
    assert_same_samples(annotations, tmp_path / "val", PRESETS[preset], False, 4, monkeypatch)


def test_a_region_beyond_the_picture_is_empty_and_close_people_share_one():
    inside, outside = np.array([[5, 5, 20, 20]]), np.array([[-50, -60, -10, -20]])
    assert clipped(outside, 96, 80)[0, 2:].tolist() == clipped(outside, 96, 80)[0, :2].tolist()
    regions, mine = shared(clipped(np.concatenate([inside, outside, inside + 2]), 96, 80))
    assert regions.tolist() == [[5, 5, 22, 22]] and mine.tolist() == [0, 0, 0]
    apart = np.array([[0, 0, 10, 10], [80, 60, 96, 80]])
    regions, mine = shared(apart)
    assert (regions == apart).all() and mine.tolist() == [0, 1]


def test_turned_views_reach_into_the_region_and_no_further(drawn):
    """The corners of crops at every angle lie in it, and some of them within two px of each side."""
    person, margin = drawn.persons[0], Margin(SIZE[0] / SIZE[1], 1.0, 30.0)
    x0, y0, x1, y1 = region(person, margin, drawn)
    half = person.scale * 100
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    angles = np.radians(np.linspace(-30, 30, 241))
    turn = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]])
    places = person.center + np.einsum("ija,cj->aci", turn, corners).reshape(-1, 2)
    slack = np.concatenate([places.min(0) - (x0, y0), (x1, y1) - places.max(0)])
    assert (slack >= 2).all() and (slack <= 5).all()


def test_it_is_made_once_and_anew_when_something_changed(drawn, tmp_path, caplog):
    folder, small, large = tmp_path / "val", Margin.of(PRESETS["none"], SIZE), Margin.of(PRESETS["paper"], SIZE)

    def lines(annotations, margin):
        caplog.clear()
        with caplog.at_level(logging.INFO, "autopose"):
            crop_cache(folder, annotations, margin)
        return " ".join(record.getMessage() for record in caplog.records if "kept" in record.getMessage())

    assert "done once" in lines(drawn, small)
    assert lines(drawn, small) == ""
    assert "anew: those there reach to" in lines(drawn, large)
    assert lines(drawn, small) == ""
    moved = replace(drawn.persons[0], joints=drawn.persons[0].joints + 1)
    assert "anew: annotations" in lines(replace(drawn, persons=(moved, *drawn.persons[1:])), small)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["val", "val.lock"]


def test_subsets_and_workers_read_the_same(made, drawn):
    subset = made.subset([made.persons[-1].image_id])
    plain = PoseDataset(drawn.subset([made.persons[-1].image_id]), SIZE)
    copied = pickle.loads(pickle.dumps(PoseDataset(subset, SIZE)))
    assert same(plain[0, None], PoseDataset(subset, SIZE)[0, None]) and same(plain[0, None], copied[0, None])
    assert len(pickle.dumps(subset.crops)) < 10_000


def test_inputs_that_reach_further_are_refused(made):
    with pytest.raises(UserError, match="crop cache holds crops for aspect 0.75, scale to 1, .* needs"):
        PoseDataset(made, SIZE, PRESETS["hrnet_coco"])
    with pytest.raises(UserError, match="aspect 1,"):
        PoseDataset(made, (64, 64))
    PoseDataset(made, (96, 128))


@pytest.mark.parametrize("name", ["manifest.json", "regions.bin", "people.bin", "shard_000.bin"])
@pytest.mark.parametrize("harm", ["missing", "truncated", "flipped"])
def test_a_damaged_cache_is_one_sentence(made, drawn, name, harm):
    path = made.crops.folder / name
    if harm == "missing":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data[: len(data) // 3] if harm == "truncated" else data)
    if (name, harm) == ("manifest.json", "missing"):
        crop_cache(made.crops.folder, drawn, made.crops.margin).verify()
        return
    with pytest.raises(CacheDamaged, match=r"crop cache .* is damaged \(.*delete the folder") as error:
        crop_cache(made.crops.folder, drawn, made.crops.margin).verify()
    assert "\n" not in str(error.value)


def test_damage_is_seen_by_the_sample_that_reads_it(made):
    cache = CropCache(made.crops.folder, made)
    path = cache.folder / "shard_000.bin"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    dataset = PoseDataset(replace(made, crops=cache), SIZE)
    dataset[0, None]
    with pytest.raises(CacheDamaged, match="bytes of shard_000.bin"):
        for index in range(len(dataset)):
            dataset[index, None]


class Full:
    """A file on a disk that is full after a while."""

    def __init__(self, path, mode):
        self.file, self.room = open(path, mode), 40_000  # noqa: SIM115

    def write(self, data):
        self.room -= len(data)
        if self.room < 0:
            raise OSError(28, "No space left on device")
        return self.file.write(data)

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_leaves_what_was_there(drawn, tmp_path, monkeypatch):
    folder, none = tmp_path / "val", Margin.of(PRESETS["none"], SIZE)
    crop_cache(folder, drawn, none)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(building, "open", Full, raising=False)
    with pytest.raises(UserError, match="No space left on device.*nothing of it was kept"):
        crop_cache(folder, drawn, Margin.of(PRESETS["paper"], SIZE))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["val", "val.lock"]


def test_too_little_room_is_said_before(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(building.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="crop cache needs .* GiB left"):
        crop_cache(tmp_path / "val", drawn, Margin(0.75))
    assert not (tmp_path / "val").exists()


def test_a_corrupt_picture_makes_no_cache(tmp_path):
    root = Path(synthetic_dataset(tmp_path / "set", 0, 1, 2, (64, 64)))
    annotations = load_coco(DataSource(root=root, split="val"), 1.0)
    Path(annotations.persons[-1].image).write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be used: not decodable"):
        crop_cache(tmp_path / "cache" / "val", annotations, Margin(1.0))
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == ["val.lock"]


def test_many_shards(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "SHARD_BYTES", 20_000)
    cache = crop_cache(tmp_path / "val", drawn, Margin(0.75))
    assert len(list(cache.folder.glob("shard_*.bin"))) > 2
    for person in drawn.persons:
        x0, y0, x1, y1 = (max(v, 0) for v in region(person, Margin(0.75), drawn))
        picture = cv2.imread(person.image)[..., ::-1]
        assert (cache.picture(person)[y0:y1, x0:x1] == picture[y0:y1, x0:x1]).all()
