"""Fine-tuning starts from the layers that match, and from the head of the same joints by name."""

import pytest
import torch

from autopose.data.schema import schema_from_category, schema_to_dict
from autopose.errors import UserError
from autopose.models import PoseNetwork
from autopose.runs.pretrained import load_pretrained
from autopose.runs.resolve import order_joints
from autopose.space import MacroSpace, builtin_architecture
from tests.networks import REFERENCE

SPACE = MacroSpace((4, 6), 1, 1, 1, 1, 4)
NAMES = ["nose", "left_eye", "right_eye"]


def network(seed, joints=3, space=SPACE, width=1):
    torch.manual_seed(seed)
    architecture = builtin_architecture("all_on_conv3", space, 0)
    made = PoseNetwork(architecture.space(width), joints, True, REFERENCE).eval()
    with torch.no_grad():
        made.head.predict.weight.mul_(100)
    return made


def schema(names):
    return schema_from_category({"keypoints": names}, sigmas=[0.1] * len(names), flip_pairs=[])


def content(trained, names=NAMES):
    state = {"schema": schema_to_dict(schema(names)), "network": trained.state_dict(), "evaluated": None}
    return {"state": state}


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_same_joints_give_the_same_network():
    trained, fresh = network(0), network(1)
    said = load_pretrained(fresh, content(trained), schema(NAMES))
    torch.testing.assert_close(fresh(IMAGES), trained(IMAGES), rtol=0, atol=0)
    assert said.startswith("0.0") and "the head of its 3 joints" in said and "new" not in said


def test_joints_in_another_order_and_style():
    trained, fresh = network(0), network(1)
    said = load_pretrained(fresh, content(trained), schema(["R Eye", "Nose", "LEye"]))
    torch.testing.assert_close(fresh(IMAGES), trained(IMAGES)[:, [2, 0, 1]], rtol=0, atol=0)
    assert "in the order of the data" in said


def test_other_joints_get_a_new_head():
    trained, fresh = network(0), network(1, joints=5)
    before = fresh.head.predict.weight.clone()
    said = load_pretrained(fresh, content(trained), schema(["nose", "a", "b", "c", "d"]))
    assert "a new head for 5 joints, as the checkpoint's 3 are not the same" in said
    assert torch.equal(fresh.head.predict.weight, before)
    for name, tensor in trained.state_dict().items():
        if not name.startswith("head.predict"):
            assert torch.equal(fresh.state_dict()[name], tensor), name


def test_as_many_joints_of_other_names_get_a_new_head_too():
    trained, fresh = network(0), network(1)
    before = fresh.head.predict.weight.clone()
    load_pretrained(fresh, content(trained), schema(["nose", "left_ear", "right_ear"]))
    assert torch.equal(fresh.head.predict.weight, before)


def test_what_does_not_fit_stays_new_and_is_named():
    trained, fresh = network(0), network(1, space=MacroSpace((4, 8), 1, 1, 1, 1, 4))
    said = load_pretrained(fresh, content(trained), schema(NAMES))
    assert "; new: " in said and "tensors)" in said


def test_nothing_that_fits_and_no_checkpoint_are_refused():
    with pytest.raises(UserError, match="nothing in the checkpoint fits"):
        other = content(network(0), ["a", "b", "c"])
        other["state"]["network"] = {f"net.{name}": value for name, value in other["state"]["network"].items()}
        load_pretrained(network(1), other, schema(NAMES))
    with pytest.raises(UserError, match="does not hold a trained network"):
        load_pretrained(network(1), {"state": {}}, schema(NAMES))


def test_joints_are_ordered_in_place():
    trained, other = network(0), network(0)
    order_joints(other, [2, 0, 1])
    torch.testing.assert_close(other(IMAGES), trained(IMAGES)[:, [2, 0, 1]], rtol=0, atol=0)
