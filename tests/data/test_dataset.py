"""Samples: what a key gives, the mirror, the crop's content, the cache."""

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from autopose.data.augment import PRESETS, Augmentation, View
from autopose.data.coco import load_coco
from autopose.data.dataset import IMAGENET_MEAN, IMAGENET_STD, PoseDataset, as_input
from autopose.data.heatmap import decode, to_image
from autopose.data.records import DataSource
from autopose.errors import UserError

SIZE = (48, 64)


@pytest.fixture
def annotations(coco_root):
    return load_coco(DataSource(coco_root, "val"))


def _same(a, b):
    return a.keys() == b.keys() and all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)


def test_shapes_and_dtypes(annotations):
    sample = PoseDataset(annotations, SIZE)[1, None]
    expected = {"image": (64, 48, 3), "target": (17, 16, 12), "target_weight": (17,), "center": (2,), "scale": (2,)}
    assert {name: tuple(sample[name].shape) for name in expected} == expected
    assert sample["image"].dtype == torch.uint8
    assert all(sample[n].dtype == torch.float32 for n in ("target", "target_weight"))
    assert sample["center"].dtype == sample["scale"].dtype == torch.float64 and sample["index"] == 1
    assert len(PoseDataset(annotations, SIZE)) == 2


def test_normalisation(annotations, coco_root):
    cv2.imwrite(str(coco_root / "val" / "10.png"), np.full((48, 64, 3), (50, 100, 200), np.uint8))
    image = as_input(PoseDataset(annotations, SIZE)[0, None]["image"][None])[0]
    for channel, value in enumerate((200, 100, 50)):  # RGB
        expected = (value / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
        assert image[channel, 32, 24] == pytest.approx(expected, abs=1e-5)
        assert image[channel, 0, 24] == pytest.approx(-IMAGENET_MEAN[channel] / IMAGENET_STD[channel], abs=1e-5)


def test_targets_decode_to_the_annotated_joints(annotations):
    person = annotations.persons[0]
    sample = PoseDataset(annotations, (192, 256))[0, None]
    places, _ = decode(sample["target"].numpy()[None], "argmax")
    found = to_image(places, sample["center"].numpy()[None], sample["scale"].numpy()[None], (48, 64))[0]
    cell = person.scale[0] * 200 / 48
    assert np.abs(found - person.joints).max() <= 0.51 * cell


def test_key_decides_everything(annotations):
    dataset = PoseDataset(annotations, SIZE, PRESETS["hrnet_coco"])
    assert _same(dataset[0, (3, 5)], PoseDataset(annotations, SIZE, PRESETS["hrnet_coco"])[0, (3, 5)])
    assert not torch.equal(dataset[0, (3, 5)]["image"], dataset[0, (3, 6)]["image"])
    plain = PoseDataset(annotations, SIZE)
    assert _same(dataset[0, None], plain[0, None]) and _same(dataset[0, None], plain[0, 4])


def test_flip_mirrors_picture_and_joints(annotations):
    """Without turning, the crop of the mirrored image is the mirrored crop around the mirrored center."""
    dataset = PoseDataset(annotations, SIZE, Augmentation(flip=1.0))
    person = dataclasses.replace(annotations.persons[1], visible=np.arange(17) % 3)
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    mirrored_center = np.array([63 - person.center[0], person.center[1]])
    crop, joints, visible = dataset.crop(picture, person, View(mirrored_center, person.scale, flip=True))
    turned = dataclasses.replace(
        person,
        joints=np.column_stack([63 - person.joints[:, 0], person.joints[:, 1]])[list(annotations.schema.flip_order)],
        visible=person.visible[list(annotations.schema.flip_order)],
    )
    view = View(mirrored_center, person.scale)
    expected = dataset.crop(np.ascontiguousarray(picture[:, ::-1]), turned, view)
    assert np.abs(crop.astype(int) - expected[0].astype(int)).max() <= 1
    np.testing.assert_allclose(joints, expected[1], atol=1e-9)
    assert (visible == expected[2]).all() and (visible != person.visible).any()
    assert dataset[1, 0]["center"].tolist() == pytest.approx(mirrored_center.tolist())


def test_joints_stay_on_their_pixels(coco_document, coco_writer):
    """A bright dot at each of two joints is found where the transformed joints say, however it is augmented."""
    root = coco_writer(coco_document)
    annotations = load_coco(DataSource(root, "val"))
    picture = np.zeros((48, 64, 3), np.uint8)
    person = annotations.persons[0]
    points = person.joints.round()
    person = dataclasses.replace(person, joints=points, scale=person.scale)
    dataset = PoseDataset(annotations, (96, 128), PRESETS["hrnet_coco"])
    for seed in range(20):
        view = dataset.view(person, seed, 64)
        for k in (5, 12):
            picture[:] = 0
            x, y = points[k].astype(int)
            picture[y, x] = 255
            crop, joints, _ = dataset.crop(picture, person, view)
            place = joints[annotations.schema.flip_order[k] if view.flip else k]
            if not ((place > 3) & (place < (92, 124))).all():
                continue
            rows, columns = np.nonzero(crop[..., 0] > 0)
            weights = crop[rows, columns, 0].astype(float)
            center = np.array([np.average(columns, weights=weights), np.average(rows, weights=weights)])
            np.testing.assert_allclose(center, place, atol=0.25)


def test_cache_gives_the_same_samples(annotations, coco_root):
    plain = PoseDataset(annotations, SIZE, PRESETS["paper"])
    before = plain[0, 3]
    cached = PoseDataset(annotations, SIZE, PRESETS["paper"], cache=True)
    (coco_root / "val" / "10.png").unlink()
    assert _same(cached[0, 3], before)
    with pytest.raises(UserError, match="10.png"):
        plain[0, 3]
    with pytest.raises(UserError, match="10.png"):
        PoseDataset(annotations, SIZE, cache=True)


def test_udp_maps_the_corner_pixels_of_the_box(annotations):
    dataset = PoseDataset(annotations, SIZE, udp=True)
    person = annotations.persons[0]
    half = person.scale * 100
    corners = np.stack([person.center - half, person.center + half])
    moved = dataclasses.replace(person, joints=np.resize(corners, (17, 2)))
    _, joints, _ = dataset.crop(np.zeros((48, 64, 3), np.uint8), moved, View(person.center, person.scale))
    np.testing.assert_allclose(joints[:2], [[0, 0], [47, 63]], atol=1e-4)


def test_real_images(real_data):
    annotations = load_coco(DataSource(real_data / "lsp", "val"))
    dataset = PoseDataset(annotations, (192, 256), PRESETS["hrnet_coco"])
    inside = np.mean([dataset[index, None]["target_weight"].sum() for index in range(40)])
    labelled = np.mean([(p.visible > 0).sum() for p in annotations.persons[:40]])
    assert inside > 0.99 * labelled
    assert dataset[0, (0, 1)]["image"].float().std() > 1
