"""Atomic writing: a file appears whole and durable, or what stood there before stays."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from autopose.errors import UserError


def replace_file(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a file beside ``path``, sync it and rename it to ``path``; its folder is made.

    Raises:
        OSError: no space, no permission, …; nothing half-written stays, and an older file is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def save(path: str | os.PathLike, content: str | bytes) -> None:
    """``replace_file`` with text (UTF-8) or bytes; UserError where the disk does not take it."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        replace_file(path, lambda file: file.write(data))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def save_json(path: str | os.PathLike, content: object) -> None:
    """``save`` of JSON: a list in one line, anything else indented."""
    save(path, json.dumps(content, indent=None if isinstance(content, list) else 1) + "\n")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable where the platform lets folders be synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
