"""The configuration: typed and frozen, every default in one place (``schema`` and the ``*_keys`` beside it)."""

from .checkpointed import MAY_CHANGE, from_checkpoint, without_retired
from .composed import composed, composition_problem, differences, from_hydra
from .data_keys import DataConfig
from .documented import documented
from .quoting import prepared, quoted, shell_command
from .reproduce import choices, overrides_for
from .schema import Config, CorrelateConfig, ExportConfig, KernelsConfig, LatencyConfig, PoolConfig
from .search_keys import RewardConfig, SearchConfig, SpaceConfig, TrialsConfig
from .train_keys import EvaluateConfig, TrainConfig
from .used import USED, check_used, given_keys

__all__ = [
    "MAY_CHANGE", "USED", "Config", "CorrelateConfig", "DataConfig", "EvaluateConfig", "ExportConfig", "KernelsConfig",
    "LatencyConfig", "PoolConfig", "RewardConfig", "SearchConfig", "SpaceConfig", "TrainConfig", "TrialsConfig",
    "check_used",
    "choices", "composed", "composition_problem", "differences", "documented", "from_checkpoint", "from_hydra",
    "given_keys", "overrides_for", "prepared", "quoted", "shell_command", "without_retired",
]  # fmt: skip
