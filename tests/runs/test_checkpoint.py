"""Checkpoints: whole or not at all, refused in one sentence where they do not fit, and no code runs from them."""

import errno
import logging
import os
import pickle
import random
import resource
import zipfile
from pathlib import Path

import pytest
import torch

from autopose import files
from autopose.config import Config, DataConfig
from autopose.errors import UserError
from autopose.runs import checkpoint
from autopose.runs.checkpoint import (
    CheckpointStore,
    DamagedCheckpoint,
    check_resumable,
    fitting,
    read_checkpoint,
    write_checkpoint,
)

CONFIG = {"seed": 0, "name": "a", "search": {"epochs": 2, "batch_size": 4}, "space": {"channels": [4, 8]}}
PAGE = 4096


def content(kind="search", **fields):
    draws = torch.Generator().manual_seed(0)
    state = {f"layer{i}": torch.randn(700 + i, generator=draws) for i in range(6)}
    return {
        "format": checkpoint.FORMAT, "version": checkpoint.VERSION, "kind": kind, "config": CONFIG, "world_size": 1,
        "step": 3, "architecture": None, "state": state,
    } | fields  # fmt: skip


def same(one, other):
    return all(torch.equal(one["state"][name], other["state"][name]) for name in content()["state"])


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path, "search", CONFIG, keep=2)


@pytest.fixture
def messages():
    """What the run's log says; it does not propagate to pytest's handler once a run has opened it."""
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = logging.getLogger("autopose")
    level, logger.disabled = logger.level, False
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_checkpoint_comes_back_as_written(tmp_path):
    path = tmp_path / "a.pt"
    write_checkpoint(path, content())
    assert same(read_checkpoint(path, "search"), content())
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_truncated_at_every_4_kib_boundary_is_refused_and_passed_over(store, messages):
    store.save(1, content()["state"], "step 1")
    store.save(2, content()["state"], "step 2")
    newest = store.folder / "step_000000000002.pt"
    whole = newest.read_bytes()
    boundaries = [*range(0, len(whole), PAGE), len(whole) - 1]
    assert len(boundaries) > 5
    (store.folder / "last.pt").unlink()
    for size in boundaries:
        newest.write_bytes(whole[:size])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(newest)
        messages.clear()
        assert store.newest()[0]["step"] == 1
        assert "passed over" in messages[0] and newest.name in messages[0] and "\n" not in messages[0]


def test_no_flipped_bit_changes_what_is_loaded(tmp_path):
    path = tmp_path / "a.pt"
    write_checkpoint(path, content())
    whole, rng, refused = bytearray(path.read_bytes()), random.Random(0), 0
    for _ in range(300):
        bit = rng.randrange(8 * len(whole))
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        try:
            loaded = read_checkpoint(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert same(loaded, content()), f"bit {bit} changed a tensor unnoticed"
            assert loaded["config"] == CONFIG
        whole[bit // 8] ^= 1 << bit % 8
    assert refused > 200


@pytest.mark.parametrize("garbage", [b"", b"\0" * 5000, b"not a checkpoint", pickle.dumps({"a": 1})])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, garbage):
    path = tmp_path / "a.pt"
    path.write_bytes(garbage)
    with pytest.raises(UserError, match="damaged or no checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["pose.onnx", "pose_int8.onnx", "pose.pt2"])
def test_an_exported_file_is_no_checkpoint(name, tmp_path):
    (tmp_path / name).write_bytes(b"a network")
    with pytest.raises(UserError, match=f"{name} is an exported file, .* expected a checkpoint"):
        read_checkpoint(tmp_path / name)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            read_checkpoint(path)
    (tmp_path / "checkpoints").mkdir()
    last = tmp_path / "checkpoints" / "last.pt"
    last.touch()
    for folder in (tmp_path, last.parent):
        with pytest.raises(UserError, match=f"it is a folder, give {last}"):
            read_checkpoint(folder)


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["zip", "plain pickle"])
def test_code_in_a_malicious_file_does_not_run(tmp_path, form):
    path, trace = tmp_path / "a.pt", tmp_path / "trace"
    evil = content(state=Attack(str(trace)))
    if form == "zip":
        torch.save(evil, path)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    else:
        path.write_bytes(pickle.dumps(evil))
    with pytest.raises(UserError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Attack(str(trace))))
    assert trace.exists(), "the attack itself must work, or this test shows nothing"


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_keeps_the_last_good_file_and_the_run_goes_on(store, messages, monkeypatch, failing):
    assert store.save(1, content()["state"], "step 1")

    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(files, "open", full, raising=False)
        else:
            patch.setattr(os, failing, full)
        assert store.save(2, content()["state"], "step 2") is False
    assert store.failures == 1
    assert "No space left" in messages[-1] and "step 2" in messages[-1]
    assert not list(store.folder.glob("*.partial"))
    assert store.newest()[0]["step"] == 1
    assert store.save(3, content()["state"], "step 3")
    assert store.newest()[0]["step"] == 3


def test_a_real_limit_on_file_sizes_is_survived(store):
    assert store.save(1, content()["state"], "step 1")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE, before[1]))
    try:
        assert store.save(2, content()["state"], "step 2") is False
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in sorted(store.folder.iterdir())] == ["last.pt", "step_000000000001.pt"]
    assert store.newest()[0]["step"] == 1


def test_the_last_k_are_kept_and_best_stays(store):
    for step in range(1, 6):
        store.save(step, content()["state"], f"step {step}", best=step == 2)
    names = sorted(path.name for path in store.folder.iterdir())
    assert names == ["best.pt", "last.pt", "step_000000000004.pt", "step_000000000005.pt"]
    assert read_checkpoint(store.folder / "best.pt")["step"] == 2
    assert read_checkpoint(store.folder / "last.pt")["step"] == 5


def test_files_later_than_the_one_resumed_from_do_not_push_out_good_ones(store):
    for step in (7, 8):
        store.save(step, content()["state"], f"step {step}")
    (store.folder / "step_000000000008.pt").write_bytes(b"torn")
    (store.folder / "last.pt").unlink()
    assert store.resume(("name",))["step"] == 7
    assert (store.folder / "step_000000000008.pt.damaged").read_bytes() == b"torn"
    store.keep = 1
    store.save(7, content()["state"], "step 7")
    assert [path.name for path in store.folder.glob("step_*.pt")] == ["step_000000000007.pt"]


def test_nothing_to_resume_starts_afresh(store, messages):
    assert store.resume(()) is None
    assert "starting afresh" in messages[-1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"version": 99}, "version 99"),
        ({"kind": "train"}, "written by train"),
        ({"format": "other"}, "no checkpoint of this software"),
        ({"world_size": 4}, "started with 4 process"),
        ({"config": CONFIG | {"seed": 1, "search": {"epochs": 3, "batch_size": 4}}}, "search.epochs, seed"),
        ({"config": CONFIG | {"space": {"channels": [4, 9]}}}, "space.channels"),
    ],
    ids=["version", "kind", "format", "processes", "changed keys", "changed list"],
)
def test_what_does_not_fit_the_run_is_refused_not_passed_over(store, fields, expected):
    store.folder.mkdir()
    write_checkpoint(store.folder / "step_000000000003.pt", content(**fields))
    with pytest.raises(UserError, match=expected) as caught:
        store.resume(("name",))
    assert "\n" not in str(caught.value)


def test_keys_that_may_change_are_not_refused():
    changed = CONFIG | {"name": "b", "search": {"epochs": 2, "batch_size": 8}}
    header = {"config": changed, "world_size": 1, "data": {}, "machine": {}}
    check_resumable(content(), header, ("name", "search.batch_size"))
    check_resumable(content(), header, ("name", "search"))
    with pytest.raises(UserError, match="search.batch_size"):
        check_resumable(content(), header, ("name", "search.batch"))


def test_a_fresh_run_does_not_mix_with_an_earlier_one(store):
    store.refuse_existing()
    store.save(1, content()["state"], "step 1")
    with pytest.raises(UserError, match="resume=auto"):
        store.refuse_existing()


def test_a_state_of_another_network_is_one_sentence():
    with pytest.raises(UserError, match="does not fit this run") as caught, fitting("the checkpoint"):
        torch.nn.Linear(2, 3).load_state_dict(torch.nn.Linear(2, 4).state_dict())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EMFILE, errno.ENOMEM, errno.EIO, errno.EACCES])
def test_a_read_error_is_no_damage(store, monkeypatch, number):
    for step in (1, 2):
        store.save(step, content()["state"], f"step {step}")
    before = sorted(path.name for path in store.folder.iterdir())
    calls = []

    def failing(path):
        calls.append(path)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(UserError, match=os.strerror(number)) as caught:
        store.resume(("name",))
    assert not isinstance(caught.value, DamagedCheckpoint) and len(calls) == 1
    assert sorted(path.name for path in store.folder.iterdir()) == before


def test_only_damaged_files_are_refused_and_stay(store):
    store.save(1, content()["state"], "step 1")
    for path in store.folder.iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(UserError, match="2 checkpoint.s., and none of them can be used"):
        store.resume(("name",))
    assert len(list(store.folder.iterdir())) == 2


def test_compressed_records_are_refused_before_they_are_unpacked(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10**7)
    assert path.stat().st_size < 20_000
    with pytest.raises(DamagedCheckpoint, match="compressed"):
        read_checkpoint(path)


def test_a_full_disk_gives_up_older_files_and_says_what_is_saved(store, monkeypatch):
    for step in (1, 2):
        store.save(step, content()["state"], f"epoch {step}")
    assert store.status().startswith("the state is saved")
    write = checkpoint.write_checkpoint

    def full_until_a_file_goes(path, content):
        if len(list(store.folder.glob("step_*.pt"))) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_checkpoint", full_until_a_file_goes)
    assert store.save(3, content()["state"], "epoch 3")
    assert store.newest()[0]["where"] == "epoch 3"
    store.require_saved()

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_checkpoint", full)
    assert not store.save(4, content()["state"], "epoch 4")
    assert "could not be saved (No space left on device); last.pt holds epoch 3" in store.status()
    with pytest.raises(UserError, match="last.pt holds epoch 3"):
        store.require_saved()
    assert store.newest()[0]["where"] == "epoch 3"


def test_changed_data_are_refused_and_another_machine_is_warned_of(tmp_path, messages):
    def opened(**data):
        return CheckpointStore(tmp_path, "search", CONFIG, 2, data=data)

    opened(train="a", val="b").save(1, content()["state"], "epoch 1")
    assert opened(train="a", val="b").resume(()) is not None
    with pytest.raises(UserError, match="the val split has changed"):
        opened(train="a", val="c").resume(())
    moved = opened(train="a", val="b")
    moved.header["machine"] |= {"threads": 99}
    assert moved.resume(()) is not None
    assert "threads: 99 now" in messages[-1]


def test_a_run_from_before_a_key_existed_goes_on_with_its_default_and_no_other_value():
    old = Config(seed=3).to_dict()
    for group, key in (("data", "seed"), ("space", "operations"), (None, "trace")):
        del (old[group] if group else old)[key]

    def check(**data):
        new = Config(seed=3, data=DataConfig(**data)).to_dict()
        check_resumable({**content(), "config": old}, {"config": new, "world_size": 1, "data": {}, "machine": {}}, ())

    check(seed=3)
    with pytest.raises(UserError, match="other values of data.seed"):
        check(seed=0)
    with pytest.raises(UserError, match="other values of data.udp"):
        check(seed=3, udp=True)
