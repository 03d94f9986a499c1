"""Runs side by side: ``python -m autopose.compare RUN RUN [RUN ...] out=PAGE.html``.

One self-contained page and a picture of the same name (.png): scores with protocol and constant pose, curves,
architectures; what differs in data, protocol or size is said in words. RUN is the folder of a run that ended.
"""

import sys
from pathlib import Path

from autopose.errors import UserError
from autopose.report.comparison import FILE, write_comparison


def main(arguments: list[str]) -> int:
    """Write page and picture; returns the exit code, 2 for a user's mistake."""
    out = [item.removeprefix("out=") for item in arguments if item.startswith("out=")]
    folders = [Path(item).expanduser() for item in arguments if not item.startswith("out=")]
    if not folders or len(out) > 1 or {"-h", "--help"} & set(arguments):
        print(__doc__.strip())
        return 0 if {"-h", "--help"} & set(arguments) else 2
    path = Path(out[0] if out else FILE).expanduser()
    try:
        if path.suffix != ".html":
            raise UserError(f"out names a page and must end in .html, but is {path}")
        write_comparison(folders, path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"page       {path}\npicture    {path.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
