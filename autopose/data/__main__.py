"""Own data: ``python -m autopose.data convert source=FOLDER out=FOLDER``."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import yaml

from autopose.data.convert import Settings, convert
from autopose.data.convert.formats import FORMATS
from autopose.errors import UserError

HELP = f"""python -m autopose.data COMMAND KEY=VALUE ...: data of your own.

convert  writes COCO keypoints from another tool's labels into a new folder, pictures with them:
         {", ".join(FORMATS)}. The format is recognised, or given by format=.
         Training and validation are split by seed= where the source has no split; labels stay exact.
Exit codes: 0 all went over, 1 written but something was left out, 2 nothing was written.

Examples:
  python -m autopose.data convert source=my_deeplabcut_project out=data/mouse
  python -m autopose.data convert source=annotations.xml pictures=photos out=data/dogs val_fraction=0.1

Keys of convert: {", ".join(field.name for field in fields(Settings))}."""


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    if not arguments or any(argument in ("-h", "--help", "help") for argument in arguments):
        print(HELP)
        return 0 if arguments else 2
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise UserError(f"unknown command {name!r}: expected one of {', '.join(COMMANDS)} (see --help)")
        return COMMANDS[name](rest)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_convert(arguments: Sequence[str]) -> int:
    """Convert, say in words what came out and what did not."""
    settings = _settings(arguments)
    converted = convert(settings)
    print("\n".join(converted.lines))
    print(f"written    {converted.folder}")
    if not converted.problems.count:
        return 0
    print(f"{converted.problems.count} things were left out", file=sys.stderr)
    print("\n".join(converted.problems.lines()), file=sys.stderr)
    return 1


def _settings(arguments: Sequence[str]) -> Settings:
    values = key_values(arguments, [field.name for field in fields(Settings)])
    missing = [field.name for field in fields(Settings) if field.default is MISSING and field.name not in values]
    if missing:
        raise UserError(f"convert needs {' and '.join(f'{key}=' for key in missing)} (see --help)")
    kinds: dict[str, Callable] = {
        "seed": int,
        "val_fraction": float,
        "link": bool,
        "joints": tuple,
        "sigmas": tuple,
        "flip_pairs": tuple,
    }
    for key, value in values.items():
        kind = kinds.get(key, str)
        if kind is float and type(value) is int:
            values[key] = float(value)
        elif kind is tuple and isinstance(value, list):
            values[key] = tuple(value)
        elif kind is str and key in ("source", "out", "pictures"):
            values[key] = Path(str(value)).expanduser()
        elif type(value) is not kind and value is not None:
            raise UserError(f"{key} must be {'a list' if kind is tuple else kind.__name__}, got {value!r:.50}")
    return Settings(**values)


def key_values(arguments: Sequence[str], known: Sequence[str]) -> dict[str, object]:
    """key=value arguments, values in YAML; UserError for anything else or an unknown key."""
    values: dict[str, object] = {}
    for argument in arguments:
        key, separator, text = argument.partition("=")
        if not separator:
            raise UserError(f"expected KEY=VALUE, got {argument!r:.60}")
        if key not in known:
            raise UserError(f"unknown key {key!r:.40}: expected one of {', '.join(known)}")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            values[key] = text
    return values


COMMANDS = {"convert": run_convert}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
