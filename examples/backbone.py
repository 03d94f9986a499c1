"""A searched network as the backbone of another detector: python backbone.py architecture.json"""

import sys

import torch

from autopose.space import Architecture

backbone = Architecture.load(sys.argv[1]).backbone(width=2)
lateral = torch.nn.ModuleList(torch.nn.Conv2d(channels, 64, 1) for channels in backbone.out_channels)
maps = [project(x) for project, x in zip(lateral, backbone(torch.rand(1, 3, 256, 192)), strict=True)]
print([(stride, tuple(x.shape)) for stride, x in zip(backbone.strides, maps, strict=True)])
