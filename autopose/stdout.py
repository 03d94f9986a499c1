"""Standard output whose reader may leave, as ``head`` does when it has seen enough."""

import os
import sys


def show(text: str) -> None:
    """Print a text, whether or not anybody reads it to its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        reader_left()


def reader_left() -> None:
    """Let what follows go nowhere: it can no longer be written, and Python would say so at its end too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
