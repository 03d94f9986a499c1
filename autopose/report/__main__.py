"""One page for runs that belong together: ``python -m autopose.report RUN [RUN ...] out=PAGE.html``.

The folders are named in the order of the story, such as a search's, its network's training and the evaluation.
Without out= the page is the last folder's report.html, in place of the one of that run alone.
Exit codes: 0 done, 2 a mistake in what was given.
"""

import sys
from pathlib import Path

from autopose.report.paging import page_command
from autopose.report.run_page import FILE, write_run_page


def main(arguments: list[str]) -> int:
    """Write the page; returns the exit code."""

    def write(folders: list[Path], path: Path) -> list[str]:
        write_run_page(folders, path)
        return []

    return page_command(arguments, __doc__, lambda folders: folders[-1] / FILE, write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
