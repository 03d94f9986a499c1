"""Reading of strangers' files: text, YAML, XML and tables, and finding the pictures that they name.

Every function raises `UserError` with one sentence, whatever stands in the file.
"""

import csv
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import yaml

from autopose.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def read_text(path: Path, what: str) -> str:
    """Contents of a text file in UTF-8, a byte-order mark left out; UserError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"the {what} '{path}' does not exist") from None
    except UnicodeDecodeError:
        raise UserError(f"the {what} '{path}' is no text in UTF-8: save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise UserError(f"the {what} '{path}' cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_yaml(path: Path, what: str) -> dict:
    """A mapping from a YAML file, read without running anything in it; UserError where it is anything else."""
    try:
        content = yaml.safe_load(read_text(path, what))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or error).split("\n", 1)[0]
        raise UserError(f"the {what} '{path}' is not YAML{place}: {problem}") from None
    if not isinstance(content, dict):
        raise UserError(f"the {what} '{path}' must be a YAML mapping, but is {type(content).__name__}")
    return content


def read_xml(path: Path, what: str) -> Element:
    """The root element of an XML file; documents with a DOCTYPE are refused, so no entity is ever expanded."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_):
        raise UserError(f"the {what} '{path}' declares a DOCTYPE, which no labelling tool writes: it is not read")

    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(read_text(path, what).encode("utf-8"), True)
    except expat.ExpatError as error:
        raise UserError(f"the {what} '{path}' is not XML or is cut off ({error})") from None
    return builder.close()


def read_table(path: Path, what: str) -> list[list[str]]:
    """Rows of a table separated by commas, semicolons or tabs (whichever its first line has most of)."""
    text = read_text(path, what)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UserError(f"the {what} '{path}' is no table: {error}") from None
    if not rows:
        raise UserError(f"the {what} '{path}' is empty")
    return rows


def find_picture(name: str, folders: Iterable[Path]) -> Path | None:
    """The picture called ``name`` (a path, also Windows') in the first of the folders that has it, else by its last
    part; None where none has it.
    """
    plain = name.replace("\\", "/")
    places = list(folders)
    for candidate in (plain, PurePosixPath(plain).name):
        for folder in places:
            path = folder / candidate
            try:
                if candidate and path.is_file():
                    return path
            except (OSError, ValueError):
                return None
    return None


def name_in_set(path: Path, root: Path) -> str:
    """Relative path for the new set: that below ``root``, or folder and file where it lies elsewhere."""
    path, root = path.resolve(), root.resolve()
    relative = path.relative_to(root) if path.is_relative_to(root) else Path(*path.parts[-2:])
    return relative.as_posix().lstrip("/")


def pictures_below(folder: Path) -> list[Path]:
    """Every picture in a folder and its subfolders, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
