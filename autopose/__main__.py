"""One console command: ``autopose search …`` runs what ``python -m autopose.search …`` runs."""

import runpy
import sys

from autopose import __version__
from autopose.help import EXIT_CODES, PAGES
from autopose.lookup import nearest
from autopose.stdout import show

COMMANDS = {name: page.brief for name, page in PAGES.items()}
OPTIONS = ("--help", "--version", "completion")
USAGE = """AutoPose: neural architecture search for 2D human pose estimation.

usage: autopose COMMAND [KEY=VALUE ...]

{commands}

autopose COMMAND --help tells a command's keys; autopose --version the version. In bash, eval "$(autopose completion)"
completes commands, keys and the names of configurations.
{codes}"""
# bash takes "=" for the end of a word where COMP_WORDBREAKS says so, and then wants what follows alone.
COMPLETION = """_autopose() {{
    local line="${{COMP_LINE#* }}" word="${{COMP_LINE##* }}" words
    case "$line" in
        *" "*) words="$(COMP_LINE="$line" autopose "${{line%% *}}" -sc query=bash 2> /dev/null)" ;;
        *) words="{commands}" ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then COMPREPLY=("${{COMPREPLY[@]#"${{word%%=*}}="}}"); fi
}}
complete -o nospace -o default -F _autopose autopose"""


def usage() -> str:
    """What ``autopose --help`` prints."""
    return USAGE.format(commands="\n".join(f"  {name:<10} {what}" for name, what in COMMANDS.items()), codes=EXIT_CODES)


def main() -> int:
    """Run the command that the first argument names; returns the exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help", "help"):
        show(usage())
        return 0
    if name in ("-V", "--version"):
        print(f"autopose {__version__}")
        return 0
    if name == "completion":
        print(COMPLETION.format(commands=" ".join(COMMANDS)))
        return 0
    if name not in COMMANDS:
        print(f"error: there is no command {name!r}: {nearest(name, [*COMMANDS, *OPTIONS])}", file=sys.stderr)
        return 2
    del sys.argv[1]
    runpy.run_module(f"autopose.{name}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
