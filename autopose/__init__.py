"""AutoPose: neural architecture search of multi-scale branch aggregation for 2D human pose estimation."""

from pathlib import Path

__version__ = "0.1.0"

_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "setup.py").exists() and (_ROOT / "kernels").is_dir():
    # A checkout: kernels/ and configs/ stand beside this package; an installed wheel holds them inside.
    __path__.append(str(_ROOT))
