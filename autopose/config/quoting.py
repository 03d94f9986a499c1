"""Values on Hydra's command line: quoted where its grammar would read them as something else, or not at all."""

import dataclasses
import os
import re
import shlex
from collections.abc import Sequence
from types import UnionType
from typing import get_args, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from autopose.config.schema import Config
from autopose.errors import UserError

# What Hydra reads as it stands: letters, numbers and a few signs, no comma, bracket, quote, "=" or blank.
_PLAIN = re.compile(r"[A-Za-z0-9_./:+@%|?*-]+")
# Folders that Hydra makes before the configuration is composed.
_HYDRA_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_KEY = re.compile(r"^(\+{0,2})([A-Za-z_][\w./@]*)=(.*)$", re.S)


def text_keys(settings: type = Config, prefix: str = "") -> set[str]:
    """Keys of the configuration whose values are text ("data.root", "checkpoint")."""
    found: set[str] = set()
    for name, kind in get_type_hints(settings).items():
        if dataclasses.is_dataclass(kind):
            found |= text_keys(kind, f"{prefix}{name}.")
        elif kind is str or (isinstance(kind, UnionType) and str in get_args(kind)):
            found.add(f"{prefix}{name}")
    return found


def quoted(value: object) -> str:
    """A value as Hydra's grammar reads it back: text quoted where needed, lists, numbers, true, false and null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(quoted(item) for item in value) + "]"
    if not isinstance(value, str):
        return repr(value)
    return value if _PLAIN.fullmatch(value) and _reads_as(value) else _in_quotes(value)


def shell_command(module: str, arguments: Sequence[tuple[str, object]]) -> str:
    """A command line to paste: ``python -m MODULE KEY=VALUE ...``, quoted for Hydra and then for the shell."""
    return shlex.join(["python", "-m", module, *(f"{key}={quoted(value)}" for key, value in arguments)])


def prepared(arguments: Sequence[str], sweeping: bool) -> list[str]:
    """Arguments of a command line that Hydra reads as they were meant.

    The value of a text key is quoted where Hydra would not read it as text, so that folders may have any name; where a
    sweep is asked for, commas keep their meaning. ``~`` is expanded in the folders that Hydra makes itself.

    Raises:
        UserError: an override that Hydra cannot read; the sentence says how to quote it.
    """
    text = text_keys()
    return [_prepared(argument, text, sweeping) for argument in arguments]


def _prepared(argument: str, text: set[str], sweeping: bool) -> str:
    match = _KEY.match(argument)
    if match is None:
        return argument
    plus, key, value = match.groups()
    if key in _HYDRA_FOLDERS and value.startswith("~"):
        value = os.path.expanduser(value)
        argument = f"{plus}{key}={value}"
    is_text = key in text or key in _HYDRA_FOLDERS
    try:
        override = OverridesParser.create().parse_override(argument)
        readable = isinstance(override.value(), str | int | float | None) or (sweeping and override.is_sweep_override())
        if not is_text or (readable and value == value.strip()):
            return argument
    except HydraException as error:
        if not is_text:
            example = shlex.quote(f"{key}={_in_quotes(value)}")
            reason = str(error).splitlines()[0]
            raise UserError(
                f"the value of {key!r:.60} cannot be read ({reason:.80}): quote text for Hydra and for the shell, as "
                f"in {example:.200}, and give lists as '{key}=[a,b]'"
            ) from None
    return f"{plus}{key}={_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    """In single quotes; a quote, and backslashes before one or at the end, are escaped by Hydra's rules."""
    escaped = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def _reads_as(value: str) -> bool:
    try:
        return OverridesParser.create().parse_override(f"x={value}").value() == value
    except HydraException:
        return False
