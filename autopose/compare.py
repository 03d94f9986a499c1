"""Runs side by side: ``python -m autopose.compare RUN RUN [RUN ...] out=PAGE.html``.

One self-contained page and a picture of the same name (.png): scores with protocol and constant pose, curves,
architectures; what differs in data, protocol or size is said in words. RUN is the folder of a run that ended.
Exit codes: 0 done, 2 a mistake in what was given.
"""

import sys
from pathlib import Path

from autopose.report.comparison import FILE, write_comparison
from autopose.report.paging import page_command


def main(arguments: list[str]) -> int:
    """Write page and picture; returns the exit code."""

    def write(folders: list[Path], path: Path) -> list[str]:
        write_comparison(folders, path)
        return [f"picture    {path.with_suffix('.png')}"]

    return page_command(arguments, __doc__, lambda _: Path(FILE), write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
