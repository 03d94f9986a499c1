"""A small network with its joints, as a checkpoint would give them."""

import pytest
import torch

from autopose.config import Config, DataConfig
from autopose.data.schema import COCO
from autopose.models import PoseNetwork
from autopose.space import MacroSpace, builtin_architecture

MACRO = MacroSpace((4, 8), 2, 1, 2, 1, 4)


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(0)
    found = PoseNetwork(builtin_architecture("random", MACRO, 5).space(), 17)
    with torch.no_grad():
        found.head.predict.weight.mul_(300)
        for _ in range(3):
            found(torch.randn(4, 3, 64, 48))
    return found.eval()


@pytest.fixture
def config():
    return Config(data=DataConfig(image_size=[48, 64]))


@pytest.fixture
def schema():
    return COCO
