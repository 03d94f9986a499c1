"""Own data: ``python -m autopose.data convert|check|cache KEY=VALUE ...``."""

import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

import yaml

from autopose.config import DataConfig
from autopose.config.quoting import shell_command
from autopose.data.convert import Settings, convert
from autopose.data.convert.formats import FORMATS, recognise
from autopose.data.crop_cache.build import GIB
from autopose.data.crop_cache.store import CacheDamaged
from autopose.data.inspection.command import configuration, located, search_arguments
from autopose.data.inspection.inspect import inspect_dataset
from autopose.data.records import PoseAnnotations
from autopose.errors import UserError
from autopose.lookup import nearest
from autopose.runs.datasets import load_annotations
from autopose.stdout import show

HELP = f"""python -m autopose.data COMMAND KEY=VALUE ...: data of your own.

convert  writes COCO keypoints from another tool's labels into a new folder, pictures with them:
         {", ".join(FORMATS)}. The format is recognised, or given by format=.
         Training and validation are split by seed= where the source has no split; labels stay exact.
check    looks at a COCO-style or MPII set, says in words what is there and what is wrong, draws 16 pictures with
         their joints and ends with the configuration to use.
cache    writes the pixels that people's crops can need, with the margin of the augmentation, into few large files
         (data.cache_folder, else data.root/crop_cache), which runs with data.cache=disk read instead of the pictures.
         One that is there is looked at byte by byte, and made anew where it is damaged or of something else.
Exit codes: 0 all well, 1 something was left out (convert) or is wrong (check), 2 nothing was done.

Examples:
  python -m autopose.data convert source=my_deeplabcut_project out=data/mouse
  python -m autopose.data check data.root=data/mouse
  python -m autopose.data cache data.root=data/mouse data.augmentation=hrnet_coco

Keys of convert: {", ".join(field.name for field in fields(Settings))}.
Keys of check: data.root and the other keys of data (data.train_annotations, ...), sheet=FILE.png, seed.
Keys of cache: data.root and the other keys of data, as the runs will have them."""


def main(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code."""
    if not arguments or any(argument in ("-h", "--help", "help") for argument in arguments):
        show(HELP)
        return 0 if arguments else 2
    name, *rest = arguments
    try:
        if name not in COMMANDS:
            raise UserError(f"unknown command {name!r}: {nearest(name, COMMANDS)} (see --help)")
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
    print("next       " + shlex.join(["python", "-m", "autopose.data", "check", f"data.root={converted.folder}"]))
    if not converted.problems.count:
        return 0
    count = converted.problems.count
    print(f"{count} thing{' was' if count == 1 else 's were'} left out", file=sys.stderr)
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
            raise UserError(f"unknown key {key!r:.40}: {nearest(key, known)}")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            values[key] = text
    return values


def run_check(arguments: Sequence[str]) -> int:
    """Look at a set and say what is there."""
    values, given = _keys_of_data("check", arguments, ("sheet", "seed"))
    root = Path(given["root"])
    given = located(root) | given
    config = _data_config(given | {"check_images": False, "cache": False, "cache_folder": None})
    splits, wrong = _load(config)
    if not splits:
        raise UserError(_first_step(root) or wrong[0])
    sheet = Path(str(values.get("sheet") or Path("outputs") / "check" / f"{root.resolve().name}.png"))
    found = inspect_dataset(splits, sheet, int(values.get("seed") or 0), config.exif, config.rescale)
    found.findings.wrong += wrong
    people = len(splits.get("train", next(iter(splits.values()))).persons)
    print(found.findings.text())
    print("\nsize of people\n" + "\n".join(found.histogram))
    print("\nuse these as configs/data/NAME.yaml, or as keys:\n" + configuration(given, found.recommended))
    print("\nnext\n" + shell_command("autopose.search", search_arguments(given, found.recommended, people)))
    return 1 if found.findings.wrong else 0


def _keys_of_data(command: str, arguments: Sequence[str], others: Sequence[str] = ()) -> tuple[dict, dict]:
    """All values, and those of data without "data."; UserError unless data.root is a folder."""
    values = key_values(arguments, [*(f"data.{field.name}" for field in fields(DataConfig)), *others])
    given = {key.removeprefix("data."): value for key, value in values.items() if key.startswith("data.")}
    if not isinstance(given.get("root"), str) or not Path(given["root"]).is_dir():
        raise UserError(f"{command} needs data.root=FOLDER, a folder that is there, got {given.get('root')!r:.80}")
    return values, given


def _data_config(given: dict) -> DataConfig:
    try:
        return DataConfig(**given)
    except TypeError as error:
        raise UserError(f"a key of data has a value of the wrong kind: {error}") from None


def run_cache(arguments: Sequence[str]) -> int:
    """Make the crop caches of both splits, and look at every byte of those that are there."""
    _, given = _keys_of_data("cache", arguments)
    config = _data_config(located(Path(given["root"])) | given | {"cache": "disk"})
    for split in ("train", "val"):
        try:
            crops = load_annotations(config, split).crops
            crops.verify()
        except CacheDamaged as damage:
            print(f"made anew  {damage.what}")
            shutil.rmtree(damage.folder, ignore_errors=True)
            crops = load_annotations(config, split).crops
        print(f"cache      {crops.folder}: {len(crops)} people, {crops.size / GIB:.3f} GiB, {crops.margin}")
    folder = f" data.cache_folder={config.cache_folder}" if config.cache_folder else ""
    print(f"next       give your runs data.cache=disk{folder}")
    return 0


def _load(config: DataConfig) -> tuple[dict[str, PoseAnnotations], list[str]]:
    """The splits that can be read, and a sentence for each that cannot."""
    splits, wrong = {}, []
    for split in ("train", "val"):
        try:
            splits[split] = load_annotations(config, split, compare=False)
        except UserError as error:
            wrong.append(f"The split {split} cannot be used: {error}")
    return splits, wrong


def _first_step(root: Path) -> str | None:
    """What to do with a folder that has no annotation to check but another tool's labels."""
    try:
        name = recognise(root)
    except UserError:
        return None
    return (
        f"'{root}' looks like {FORMATS[name].title}: convert it first, "
        f"python -m autopose.data convert source={root} out=FOLDER"
    )


COMMANDS = {"convert": run_convert, "check": run_check, "cache": run_cache}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
