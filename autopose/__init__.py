"""AutoPose: neural architecture search of multi-scale branch aggregation for 2D human pose estimation."""

from pathlib import Path

__version__ = "0.1.0"

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").exists() and (_ROOT / "kernels").is_dir():
    # A checkout: kernels/ and configs/ stand beside this package; an installed wheel holds them inside.
    __path__.append(str(_ROOT))


def __getattr__(name: str):
    """``load`` and ``Model`` come from ``autopose.api`` when they are first asked for: importing this stays light."""
    if name in ("load", "Model"):
        from autopose import api

        return getattr(api, name)
    raise AttributeError(f"module 'autopose' has no attribute {name!r}")
