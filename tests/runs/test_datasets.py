"""Datasets of a run: what data.cache does to them, and what it must not be."""

import pytest
import torch

from autopose.config import DataConfig
from autopose.data.__main__ import main
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.errors import UserError
from autopose.runs.datasets import load_annotations, pose_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(synthetic_dataset(tmp_path_factory.mktemp("cached") / "set", 0, 3, 2, (64, 64)))


def config(root, **keys):
    return DataConfig(kind="coco", root=root, train_split="train", val_split="val", image_size=[48, 64], **keys)


@pytest.mark.parametrize("augment", [False, True])
def test_every_cache_gives_the_same_samples(root, augment):
    found = []
    for cache in (False, True, "memory", "disk"):
        settings = config(root, cache=cache)
        dataset = pose_dataset(load_annotations(settings, "train"), settings, augment=augment)
        found.append([dataset[index, 3] for index in range(len(dataset))])
        assert (dataset.annotations.crops is not None) == (cache == "disk")
    for samples in found[1:]:
        for one, other in zip(found[0], samples, strict=True):
            assert all(torch.equal(torch.as_tensor(one[name]), torch.as_tensor(other[name])) for name in one)


def test_unusable_caches_are_refused(root, tmp_path):
    with pytest.raises(UserError, match="data.cache must be false, memory or disk, but is 'tape'"):
        config(root, cache="tape")
    with pytest.raises(UserError, match="data.cache_folder would not be used"):
        config(root, cache="memory", cache_folder="x")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="crop cache cannot be kept in .*data.cache_folder"):
        load_annotations(config(root, cache="disk", cache_folder=str(tmp_path / "file" / "x")), "val")


def test_the_command_makes_both_splits_and_mends_what_is_damaged(root, tmp_path, capsys):
    arguments = ["cache", f"data.root={root}", "data.image_size=[48,64]", f"data.cache_folder={tmp_path}"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.count("people") == 2
    shard = tmp_path / "val" / "shard_000.bin"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert main(arguments) == 0
    assert "made anew  bytes of shard_000.bin" in capsys.readouterr().out
    assert shard.read_bytes() == data
    assert main(["cache", "data.root=/nowhere"]) == 2
    assert "cache needs data.root=FOLDER" in capsys.readouterr().err
