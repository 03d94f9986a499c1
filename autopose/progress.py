"""One progress bar for everything that may take longer than two seconds: it moves on a terminal or in a notebook, and
is a line a minute where nobody watches.
"""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

QUIET_S, WATCHED_S, UNWATCHED_S = 2.0, 1.0, 60.0


class _Lines:
    """Standard error, each state of a bar as a line of its own."""

    def write(self, text: str) -> None:
        """Leave out what only moves a terminal's cursor."""
        shown = text.strip("\r\n ")
        if shown:
            sys.stderr.write(f"{shown}\n")

    def flush(self) -> None:
        """Flush standard error."""
        sys.stderr.flush()


def progress(
    items: Iterable | None = None,
    what: str = "",
    total: int | None = None,
    done: int = 0,
    shown: bool = True,
    at_once: bool = False,
) -> Any:
    """A bar over ``items``, or one to be updated where there are none.

    Args:
        items: passed on one by one.
        what: in front of the bar.
        total: how many, where ``items`` does not tell; done: of them, before.
        shown: nothing is written otherwise.
        at_once: not only after two seconds.
    """
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        items, what or None, total, initial=done, unit="it", disable=not shown, miniters=1, leave=at_once,
        mininterval=WATCHED_S if watched else UNWATCHED_S, delay=0 if at_once else QUIET_S,
        file=sys.stderr if watched else _Lines(),
    )  # fmt: skip
