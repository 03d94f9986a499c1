"""The drawn set: deterministic, well formed, and telling left from right."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from autopose.data.checks import check_images
from autopose.data.coco import load_coco
from autopose.data.records import DataSource
from autopose.data.schema import COCO
from autopose.data.synthetic import dataset
from autopose.data.synthetic.body import draw_figure
from autopose.data.synthetic.dataset import set_name, synthetic_dataset
from autopose.data.synthetic.scene import draw_scene
from autopose.errors import UserError


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return synthetic_dataset(tmp_path_factory.mktemp("drawn") / "set", 0, 120, 30)


def test_reads_as_coco(drawn):
    train, val = (load_coco(DataSource(drawn, split)) for split in ("train", "val"))
    assert train.schema is COCO and (len(train.images), len(val.images)) == (120, 30)
    assert check_images([i.path for i in train.images.values()]) == 120
    assert cv2.imread(val.images[0].path).shape == (160, 160, 3)
    assert len(train.persons) >= 120
    for person in train.persons:
        labelled = person.joints[person.visible > 0]
        assert ((labelled >= -0.5) & (labelled < 160)).all()
        assert 30 <= person.area <= person.bbox[2:].prod() + person.bbox[2:].sum() + 1


def test_variety(drawn):
    train = load_coco(DataSource(drawn, "train"))
    visible = np.stack([p.visible for p in train.persons])
    limbs = visible[:, 5:]
    assert 0.6 < (limbs == 2).mean() < 0.95 and (limbs == 1).mean() > 0.05  # some joints are hidden
    nose = (visible[:, 0] > 0).mean()
    assert 0.3 < nose < 0.8  # some figures are seen from behind
    assert len({p.image_id for p in train.persons}) < len(train.persons)  # some pictures hold several


def test_same_seed_same_files(tmp_path):
    first = _files(synthetic_dataset(tmp_path / "a", 4, 3, 2, (48, 64)))
    assert first == _files(synthetic_dataset(tmp_path / "b", 4, 3, 2, (48, 64)))
    larger = _files(synthetic_dataset(tmp_path / "c", 4, 5, 2, (48, 64)))
    assert all(larger[name] == data for name, data in first.items() if name.startswith(("train/", "val/")))
    other = _files(synthetic_dataset(tmp_path / "d", 5, 3, 2, (48, 64)))
    assert other["train/000000.jpg"] != first["train/000000.jpg"] != first["val/000000.jpg"]
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 4  # no drafts are left behind


def test_taken_as_it_is_and_never_replaced(tmp_path):
    root = synthetic_dataset(tmp_path / "set", 0, 2, 1, (32, 32))
    before = _files(root)
    time = (root / "train" / "000000.jpg").stat().st_mtime_ns
    synthetic_dataset(root, 0, 2, 1, (32, 32))
    assert (root / "train" / "000000.jpg").stat().st_mtime_ns == time
    for arguments, names in (((0, 3, 1), "num_train"), ((1, 2, 1), "seed")):
        with pytest.raises(UserError, match=f"another synthetic set .other {names}."):
            synthetic_dataset(root, *arguments, (32, 32))
    (root / "synthetic.json").write_text("{")  # cut off: counts as another set
    with pytest.raises(UserError, match="another synthetic set"):
        synthetic_dataset(root, 0, 2, 1, (32, 32))
    (root / "synthetic.json").unlink()  # as a set of another kind
    with pytest.raises(UserError, match="data=coco, mpii or keypoints"):
        synthetic_dataset(root, 0, 2, 1, (32, 32))
    (root / "synthetic.json").write_bytes(before["synthetic.json"])
    assert _files(root) == before


def test_processes_that_ask_at_once_draw_it_once(tmp_path, monkeypatch):
    drawn, draw = [], dataset._draw
    monkeypatch.setattr(dataset, "_draw", lambda *arguments: (drawn.append(1), draw(*arguments)))
    with ThreadPoolExecutor(4) as pool:
        roots = list(pool.map(lambda _: synthetic_dataset(tmp_path / "set", 0, 3, 1, (32, 32)), range(4)))
    assert len(set(roots)) == len(drawn) == 1


def test_every_set_has_a_name_of_its_own():
    sets = [(0, 2, 1, (32, 32)), (1, 2, 1, (32, 32)), (0, 3, 1, (32, 32)), (0, 2, 2, (32, 32)), (0, 2, 1, (32, 64))]
    assert len({set_name(*which) for which in sets}) == len(sets)


def test_never_touches_a_folder_of_something_else(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="something else"):
        synthetic_dataset(tmp_path / "mine", 0, 1, 1)
    with pytest.raises(UserError, match="something else"):
        synthetic_dataset(tmp_path / "mine" / "thesis.txt", 0, 1, 1)
    with pytest.raises(UserError, match="cannot be written"):
        synthetic_dataset(tmp_path / "mine" / "thesis.txt" / "below", 0, 1, 1)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_no_half_written_set(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        synthetic_dataset(tmp_path / "set", 0, 1, 1)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize("arguments", [(-1, 1, 1), (0, 0, 1), (0, 1, 0), (0, 1, 1, (16, 160))])
def test_unusable_arguments(tmp_path, arguments):
    with pytest.raises(UserError, match="synthetic set needs"):
        synthetic_dataset(tmp_path / "set", *arguments)


def test_limbs_keep_their_lengths():
    """Left and right limbs of one figure are equally long in three dimensions, however posed."""
    k = COCO.joints.index
    for seed in range(50):
        joints = draw_figure(np.random.default_rng(seed)).joints
        for start, end in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            lengths = [np.linalg.norm(joints[k(f"{s}_{start}")] - joints[k(f"{s}_{end}")]) for s in ("left", "right")]
            assert lengths[0] == pytest.approx(lengths[1]) and 0.1 < lengths[0] < 0.3


def test_sides_follow_the_face():
    """The nose is seen when the left shoulder stands to the right in the picture, and seldom when to the left."""
    facing, away = [], []
    for seed in range(400):
        figure = draw_figure(np.random.default_rng(seed))
        left, right = figure.joints[5], figure.joints[6]
        up = figure.points["neck"][1] < figure.points["pelvis"][1]
        if up and abs(left[0] - right[0]) > 0.12:
            (facing if left[0] > right[0] else away).append(figure.seen_face[0])
    assert len(facing) > 50 and len(away) > 50
    assert np.mean(facing) > 0.95 and np.mean(away) < 0.05


def test_visibility_is_what_lies_on_top():
    """A joint marked visible shows its own figure: covering objects turn it to 1, never remove it."""
    counts = np.zeros(3, dtype=int)
    for seed in range(40):
        picture, people = draw_scene(np.random.default_rng(seed), (96, 128))
        assert picture.shape == (128, 96, 3) and picture.dtype == np.uint8
        for person in people:
            counts += np.bincount(person["keypoints"][:, 2].astype(int), minlength=3)
            x, y, width, height = person["bbox"]
            shown = person["keypoints"][person["keypoints"][:, 2] == 2]
            assert ((shown[:, 0] >= x - 0.5) & (shown[:, 0] <= x + width)).all()
            assert ((shown[:, 1] >= y - 0.5) & (shown[:, 1] <= y + height)).all()
    assert (counts > 20).all()
