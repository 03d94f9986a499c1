"""One page for runs that belong together: ``python -m autopose.report RUN [RUN ...] out=PAGE.html``.

The folders are named in the order of the story, such as a search's, its network's training and the evaluation.
"""

import sys
from pathlib import Path

from autopose.errors import UserError
from autopose.report.run_page import FILE, write_run_page


def main(arguments: list[str]) -> int:
    """Write the page; returns the exit code, 2 for a user's mistake."""
    out = [item.removeprefix("out=") for item in arguments if item.startswith("out=")]
    folders = [Path(item).expanduser() for item in arguments if not item.startswith("out=")]
    if not folders or len(out) > 1 or {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = Path(out[0]).expanduser() if out else folders[-1] / FILE
    try:
        write_run_page(folders, path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"page       {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
