"""What the commands share that make one page of several runs' folders."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from autopose.errors import UserError
from autopose.lookup import nearest
from autopose.stdout import show


def page_command(
    arguments: Sequence[str],
    usage: str,
    default: Callable[[list[Path]], Path],
    write: Callable[[list[Path], Path], Sequence[str]],
) -> int:
    """Run a command line of folders and ``out=PAGE.html``; returns the exit code, 2 for a user's mistake.

    Args:
        arguments: of the command line.
        usage: what --help prints, and a command line that names no run.
        default: the page where out= is not given.
        write: writes the page, and returns lines to print.
    """
    out = [item.removeprefix("out=") for item in arguments if item.startswith("out=")]
    folders = [Path(item).expanduser() for item in arguments if not item.startswith("out=")]
    asked = bool({"-h", "--help"} & set(arguments))
    if asked or not folders or len(out) > 1:
        show(usage.strip().replace("``", ""))
        return 0 if asked else 2
    path = Path(out[0]).expanduser() if out else default(folders)
    try:
        for folder in folders:
            key, separator, _ = str(folder).partition("=")
            if separator and not folder.exists():
                raise UserError(f"unknown key {key!r:.40}: {nearest(key, ['out'])}")
            if folder.is_file():
                raise UserError(f"{folder} is a file: name the folder of a run")
        if path.suffix != ".html":
            raise UserError(f"out names a page and must end in .html, but is {path}")
        lines = write(folders, path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([f"page       {path}", *lines]))
    return 0
