"""The configuration: typed and frozen, every default in one place (``schema``)."""

from .checkpointed import MAY_CHANGE, from_checkpoint
from .composed import from_hydra
from .schema import (
    Config,
    CorrelateConfig,
    DataConfig,
    EvaluateConfig,
    KernelsConfig,
    RewardConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)

__all__ = ["MAY_CHANGE", "Config", "CorrelateConfig", "DataConfig", "EvaluateConfig", "KernelsConfig", "RewardConfig"]
__all__ += ["SearchConfig", "SpaceConfig", "TrainConfig", "from_checkpoint", "from_hydra"]
