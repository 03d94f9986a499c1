"""The configuration: typed and frozen, every default in one place (``schema``)."""

from .checkpointed import MAY_CHANGE, from_checkpoint
from .composed import composition_problem, from_hydra
from .quoting import prepared, quoted, shell_command
from .reproduce import overrides_for
from .schema import (
    Config,
    CorrelateConfig,
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    KernelsConfig,
    RewardConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)
from .used import check_used, given_keys

__all__ = [
    "MAY_CHANGE",
    "Config",
    "CorrelateConfig",
    "DataConfig",
    "EvaluateConfig",
    "ExportConfig",
    "KernelsConfig",
    "RewardConfig",
]
__all__ += ["SearchConfig", "SpaceConfig", "TrainConfig", "from_checkpoint", "composition_problem", "from_hydra"]
__all__ += ["check_used", "given_keys", "given_keys", "overrides_for", "prepared", "quoted", "shell_command"]
