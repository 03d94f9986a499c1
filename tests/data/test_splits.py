"""Search splits share no image, and no validation image unless it is asked for and said."""

import pytest

from autopose.data.coco import load_coco
from autopose.data.records import DataSource, PoseAnnotations
from autopose.data.splits import split_search
from autopose.errors import UserError


@pytest.fixture
def make_set(coco_document, coco_writer):
    """Annotations of `count` images with two persons each, and one image without."""

    def make(count, offset=0) -> PoseAnnotations:
        first = coco_document["annotations"][0]
        ids = range(offset, offset + count + 1)
        data = {
            "images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48} for n in ids],
            "annotations": [first | {"id": 1 + n, "image_id": ids[n // 2]} for n in range(2 * count)],
            "categories": coco_document["categories"],
        }
        return load_coco(DataSource(coco_writer(data), "val"))

    return make


def _ids(part):
    return {p.image_id for p in part.persons}


def test_parts_are_disjoint_and_complete(make_set):
    train = make_set(40)
    split = split_search(train, seed=3)
    parts = [split.weights, split.alpha, split.reward]
    assert [len(_ids(part)) for part in parts] == [20, 15, 5]
    assert set.union(*map(_ids, parts)) == _ids(train)
    assert sum(len(part.persons) for part in parts) == len(train.persons) == 80
    for part in parts:
        assert set(part.images) == _ids(part) == {row["id"] for row in part.coco_gt["images"]}
        assert {row["image_id"] for row in part.coco_gt["annotations"]} == _ids(part)
    assert "held out of both" in split.description and "weights: 20 images, 40 persons" in split.description


def test_seed_decides(make_set):
    train = make_set(40)
    first, again, other = (split_search(train, seed) for seed in (0, 0, 1))
    assert _ids(first.reward) == _ids(again.reward) and _ids(first.weights) == _ids(again.weights)
    assert _ids(first.weights) != _ids(other.weights)


def test_reward_size(make_set):
    train = make_set(40)
    assert len(_ids(split_search(train, 0, reward_images=2).reward)) == 2
    assert len(_ids(split_search(train, 0, reward_fraction=0.5).reward)) == 10
    assert len(_ids(split_search(train, 0, reward_fraction=0.001).reward)) == 1


@pytest.mark.parametrize("count", [3, 4, 5])
def test_small_sets_leave_no_part_empty(make_set, count):
    split = split_search(make_set(count), 0)
    assert split.weights.persons and split.alpha.persons and split.reward.persons


def test_paper_takes_the_validation_set_and_says_so(make_set):
    train, validation = make_set(10), make_set(6, offset=100)
    split = split_search(train, 0, reward_split="paper", validation=validation)
    assert split.reward is validation and "VALIDATION" in split.description
    assert len(_ids(split.weights)) == len(_ids(split.alpha)) == 5
    assert not _ids(split.weights) & _ids(split.alpha)


def test_unusable(make_set):
    train = make_set(4)
    for options in ({"reward_split": "val"}, {"reward_split": "paper"}, {"reward_images": 0}, {"reward_fraction": 1.0}):
        with pytest.raises(UserError):
            split_search(train, 0, **options)
    with pytest.raises(UserError, match="at least 3"):
        split_search(make_set(2), 0)
