"""MATLAB files, read by a process of its own (``mat_child``): hostile bytes can crash the library that parses them."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from autopose.errors import UserError

# MPII's largest file takes seconds and a few hundred MB.
SECONDS = 120
MEMORY = 4 * 2**30
CHILD = Path(__file__).with_name("mat_child.py")


def read_mat(path: str | Path, name: str, what: str) -> object | None:
    """A variable of a MATLAB file (up to version 7.2), None where the file has no such variable.

    Args:
        path: of the file.
        name: of the variable.
        what: what the file is, for messages ("head boxes' file").

    Returns:
        numbers as arrays with all their axes; structs as objects with their fields; arrays of structs and cells as
        lists of their elements, one element alone as itself; text as str.

    Raises:
        UserError: missing, unreadable, damaged, or one that takes more than ``SECONDS`` or ``MEMORY`` bytes.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the {what} '{path}' {'is no file' if path.exists() else 'does not exist'}")
    command = [sys.executable, "-P", str(CHILD), str(path), name, str(MEMORY)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"the {what} '{path}' cannot be read: it takes longer than {SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1][:100] if done.returncode == 1 and lines else "the reader crashed on it"
        raise UserError(f"the {what} '{path}' cannot be read as a MATLAB file: {reason}")
    return _objects(json.loads(done.stdout))


def _objects(node: object) -> object | None:
    if not isinstance(node, dict):
        return [_objects(item) for item in node] if isinstance(node, list) else node
    if "numbers" in node:
        return np.array(node["numbers"], dtype=np.float64).reshape(node["shape"])
    return SimpleNamespace(**{field: _objects(value) for field, value in node["struct"].items()})
