"""AutoPose: neural architecture search of multi-scale branch aggregation for 2D human pose estimation."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Editors and type checkers: what ``__getattr__`` gives.
    from autopose.api import Model as Model
    from autopose.api import backbone as backbone
    from autopose.api import load as load
    from autopose.functions import compose as compose
    from autopose.functions import correlate as correlate
    from autopose.functions import derive as derive
    from autopose.functions import evaluate as evaluate
    from autopose.functions import export as export
    from autopose.functions import flops as flops
    from autopose.functions import latency as latency
    from autopose.functions import pareto as pareto
    from autopose.functions import predict as predict
    from autopose.functions import search as search
    from autopose.functions import train as train

__version__ = "0.1.0"

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").exists() and (_ROOT / "kernels").is_dir():
    # A checkout: kernels/ and configs/ stand beside this package; an installed wheel holds them inside.
    __path__.append(str(_ROOT))


# Commands that are functions too: autopose.search("experiment=quick").
COMMANDS = ("search", "derive", "train", "evaluate", "predict", "export", "latency", "flops", "correlate", "pareto")


def __getattr__(name: str):
    """Commands, ``load``, ``Model``, ``backbone`` and ``compose`` are imported when they are first asked for."""
    if name in COMMANDS:
        return import_module(f"autopose.{name}")
    if name in ("load", "Model", "backbone"):
        return getattr(import_module("autopose.api"), name)
    if name == "compose":
        return import_module("autopose.functions").compose
    raise AttributeError(f"module 'autopose' has no attribute {name!r}")
