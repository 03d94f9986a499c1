"""A searched network as a backbone, with new weights and with trained ones."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import supernet

import autopose
from autopose.models import Backbone
from autopose.space import MacroSpace, builtin_architecture

MACRO = MacroSpace((4, 8, 12), 2, 1, 1, 1, 4)
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "backbone.py"


def test_feature_maps_are_what_the_head_sees_and_get_gradients():
    network = builtin_architecture("random", MACRO, 3).network(num_joints=5, width=1)
    backbone = Backbone(network)
    assert backbone.out_channels == (4, 8, 12) and backbone.strides == (4, 8, 16)
    images = torch.rand(2, 3, 64, 32)
    maps = backbone(images)
    assert [tuple(x.shape) for x in maps] == [(2, 4, 16, 8), (2, 8, 8, 4), (2, 12, 4, 2)]
    network.eval()
    torch.testing.assert_close(network.head(backbone(images)), network(images))
    network.train()
    sum(x.square().sum() for x in backbone(images)).backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)


def test_a_supernet_is_no_backbone():
    with pytest.raises(ValueError, match="a supernet"):
        Backbone(supernet(MACRO))


def test_a_trained_backbone_has_the_checkpoints_weights(finished):
    checkpoint = finished["train"][0] / "checkpoints" / "last.pt"
    backbone, model = autopose.backbone(checkpoint), autopose.load(checkpoint, device="cpu")
    images = torch.rand(1, 3, *reversed(model.image_size))
    torch.testing.assert_close(model.network.head(backbone(images)), model.network(images))


def test_the_example_runs(tmp_path):
    builtin_architecture("hrnet", MACRO).save(tmp_path / "architecture.json")
    command = [sys.executable, EXAMPLE, tmp_path / "architecture.json"]
    environment = {"PYTHONPATH": str(EXAMPLE.parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "(4, (1, 64, 64, 48))" in done.stdout and len(EXAMPLE.read_text().strip().splitlines()) <= 14
