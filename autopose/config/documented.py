"""What every key means, read from the docstrings of the dataclasses, so that it is said once."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from typing import get_type_hints

from autopose.config.schema import Config

# "name: text; other, third: text" of an entry below "Args:".
_NAMES = re.compile(r"(?:^|; )((?:`*\w+`*, )*`*\w+`*): ")


def documented() -> dict[str, str]:
    """The meaning of every key ("search.epochs"), in the schema's order.

    A key that has no entry of its own in its dataclass' ``Args`` has the one that mentions it in double backticks; ""
    where there is none.
    """
    return dict(_documented(Config, ""))


def _documented(settings: type, prefix: str) -> Iterator[tuple[str, str]]:
    known: dict[str, str] = {}
    mentioned: dict[str, str] = {}
    names = {field.name for field in dataclasses.fields(settings)}
    for kind in reversed(settings.__mro__):
        for entry in _entries(inspect.cleandoc(kind.__doc__ or "")):
            for given, text in _split(entry, names):
                known |= dict.fromkeys(given, text.replace("``", ""))
                mentioned |= dict.fromkeys(re.findall(r"``(\w+)``", text), text.replace("``", ""))
    hints = get_type_hints(settings)
    for name, kind in ((field.name, hints[field.name]) for field in dataclasses.fields(settings)):
        if dataclasses.is_dataclass(kind):
            yield from _documented(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", known.get(name) or mentioned.get(name, "")


def _entries(text: str) -> list[str]:
    """The entries below "Args:" of a docstring, each in one line."""
    found: list[str] = []
    for line in text.partition("\nArgs:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        if line.startswith("        "):
            found[-1] += f" {line.strip()}"
        else:
            found.append(line.strip())
    return found


def _split(entry: str, names: set[str]) -> list[tuple[list[str], str]]:
    """The names and the text of every part of an entry."""
    parts = []
    for match in _NAMES.finditer(entry):
        given = [name.strip("`") for name in match[1].split(", ")]
        if set(given) <= names:
            parts.append((given, match))
    ends = [*(match.start() for _, match in parts[1:]), len(entry)]
    return [(given, entry[match.end() : end].strip()) for (given, match), end in zip(parts, ends, strict=False)]
