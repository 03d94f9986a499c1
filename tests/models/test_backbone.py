"""A searched network as a backbone, with new weights and with trained ones."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import supernet
from torch import nn

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


class Pyramid(nn.Module):
    """A toy FPN with a box's four sides and an objectness for every cell of every scale."""

    def __init__(self, backbone, channels=8):
        super().__init__()
        self.backbone = backbone
        self.lateral = nn.ModuleList(nn.Conv2d(before, channels, 1) for before in backbone.out_channels)
        self.predict = nn.Conv2d(channels, 5, 3, padding=1)

    def forward(self, images):
        maps = [project(x) for project, x in zip(self.lateral, self.backbone(images), strict=True)]
        for fine in reversed(range(len(maps) - 1)):
            maps[fine] = maps[fine] + nn.functional.interpolate(maps[fine + 1], size=maps[fine].shape[-2:])
        return [self.predict(x) for x in maps]


def test_a_detector_of_another_project_learns_on_it():
    torch.manual_seed(0)
    backbone = builtin_architecture("all_on_conv3", MACRO).network(num_joints=1, width=1).backbone()
    detector = Pyramid(backbone)
    images = torch.rand(2, 3, 64, 64)
    before = {name: p.clone() for name, p in backbone.named_parameters() if p.requires_grad}
    optimizer, losses = torch.optim.Adam([p for p in detector.parameters() if p.requires_grad], 1e-2), []
    for _ in range(8):
        found = detector(images)
        assert [tuple(x.shape) for x in found] == [(2, 5, 64 // stride, 64 // stride) for stride in backbone.strides]
        losses.append(sum((x - 1).square().mean() for x in found))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    still = [name for name, p in backbone.named_parameters() if name in before and (p == before[name]).all()]
    assert not still


def test_its_form_for_inference_is_the_same_function_and_exports():
    backbone = builtin_architecture("random", MACRO, 3).network(num_joints=5, width=1).backbone()
    backbone(torch.rand(4, 3, 64, 32))  # running statistics that are not the initial ones
    backbone.eval()
    folded, images = backbone.for_inference(), torch.rand(2, 3, 64, 32)
    assert folded.out_channels == backbone.out_channels and folded.for_inference() is folded
    program = torch.export.export(folded, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    for expected, plain, exported in zip(backbone(images), folded(images), program.module()(images), strict=True):
        torch.testing.assert_close(plain, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(exported, plain)


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
