"""Pictures on disk."""

import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from autopose.errors import UserError
from autopose.files import replace_file

MAX_PIXELS = 16000


def save_figure(figure: Figure, path: str | os.PathLike, dpi: int) -> None:
    """Write the picture atomically, in the format that the suffix names; UserError where that cannot be."""
    path = Path(path)
    kind = path.suffix[1:].lower()
    kinds = FigureCanvasAgg(figure).get_supported_filetypes()
    if kind not in kinds:
        raise UserError(f"{path} has no suffix of a picture: use one of {', '.join(sorted(kinds))}")
    dpi = min(dpi, MAX_PIXELS / max(figure.get_size_inches()))
    try:
        replace_file(path, lambda file: figure.savefig(file, format=kind, dpi=dpi, facecolor="white"))
    except OSError as error:
        raise UserError(f"cannot write the picture {path}: {error.strerror or error}") from None
