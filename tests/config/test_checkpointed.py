"""The configuration inside a checkpoint: what it may say, and what it may not make this software do."""

import pytest

from autopose.config import Config, from_checkpoint
from autopose.data.synthetic.dataset import synthetic_dataset
from autopose.errors import UserError


@pytest.mark.parametrize("place", ["name", "data.root", "data.joints"])
def test_expandable_strings_are_refused(place, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    embedded = Config().to_dict()
    group, _, key = place.partition(".")
    if key:
        embedded[group][key] = ["${oc.env:SECRET}"] if key == "joints" else "${oc.env:SECRET}"
    else:
        embedded[group] = "${oc.env:SECRET}"
    with pytest.raises(UserError, match="would be expanded") as caught:
        from_checkpoint(embedded, Config(), [])
    assert "\n" not in str(caught.value)


def test_no_set_is_drawn_into_a_folder_that_a_checkpoint_names(tmp_path):
    embedded = Config().to_dict()
    embedded["data"]["root"] = str(tmp_path / "elsewhere")
    assert from_checkpoint(embedded, Config(), []).data.root == ""
    root = synthetic_dataset(tmp_path / "drawn", 0, 1, 1, (32, 32))
    embedded["data"]["root"] = str(root)
    assert from_checkpoint(embedded, Config(), []).data.root == str(root)
