"""MATLAB files: what is in them arrives, and what they do to their reader stays there."""

import random
import time

import numpy as np
import pytest
from scipy.io import savemat

from autopose.data import mat
from autopose.data.mat import read_mat
from autopose.errors import UserError


def test_numbers_structs_cells_and_text_arrive(tmp_path):
    cell = np.empty((1, 2), object)
    cell[0] = ["left", "right"]
    whole = {"name": "a b", "point": np.array([[1.5, np.nan]]), "sides": cell}
    savemat(tmp_path / "a.mat", {"wanted": whole, "box": np.arange(8.0).reshape(2, 2, 2), "other": 1})
    found = read_mat(tmp_path / "a.mat", "wanted", "file")
    assert found.name == "a b" and found.sides == ["left", "right"]
    np.testing.assert_array_equal(found.point, [[1.5, np.nan]])
    np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", "box", "file"), np.arange(8.0).reshape(2, 2, 2))
    assert read_mat(tmp_path / "a.mat", "absent", "file") is None


def test_damaged_files_are_one_sentence(tmp_path):
    savemat(tmp_path / "a.mat", {"preds": np.arange(300.0)})
    whole, rng = (tmp_path / "a.mat").read_bytes(), random.Random(0)
    path, refused = tmp_path / "b.mat", 0
    for case in range(6):
        data = bytearray(whole)
        for _ in range(8):
            data[rng.randrange(128, 200)] = rng.randrange(256)
        path.write_bytes(bytes(data) if case else whole[:150])
        try:
            read_mat(path, "preds", "prediction file")
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and str(error).startswith(f"the prediction file '{path}'")
    assert refused >= 3


def test_a_reader_that_crashes_or_hangs_takes_nothing_with_it(tmp_path, monkeypatch):
    savemat(tmp_path / "a.mat", {"preds": np.arange(3.0)})
    crashing = tmp_path / "crashing.py"
    crashing.write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with monkeypatch.context() as patch:
        patch.setattr(mat, "CHILD", crashing)
        with pytest.raises(UserError, match="cannot be read as a MATLAB file: the reader crashed on it"):
            read_mat(tmp_path / "a.mat", "preds", "file")
    monkeypatch.setattr(mat, "SECONDS", 0.01)
    started = time.monotonic()
    with pytest.raises(UserError, match="takes longer than 0.01 s"):
        read_mat(tmp_path / "a.mat", "preds", "file")
    assert time.monotonic() - started < 10


def test_no_file_and_no_regular_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_mat(tmp_path / "a.mat", "preds", "file")
    with pytest.raises(UserError, match="is no file"):
        read_mat(tmp_path, "preds", "file")
