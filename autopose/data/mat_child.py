"""A program that writes one variable of a MATLAB file as JSON to its standard output; see ``mat.read_mat``.

It imports nothing of AutoPose, and may die of the file that it reads: ``python mat_child.py FILE NAME BYTES``.
"""

import json
import sys

import numpy as np
from scipy.io import loadmat


def plain(value: object) -> object:
    """A value of ``scipy.io.loadmat`` (with ``struct_as_record=False``) as JSON."""
    fields = getattr(value, "_fieldnames", None)
    if fields is not None:
        return {"struct": {field: plain(getattr(value, field)) for field in fields}}
    if isinstance(value, np.ndarray) and value.dtype.kind in "OV":
        items = [plain(item) for item in value.ravel()]
        return items[0] if len(items) == 1 else items
    if isinstance(value, np.ndarray) and value.dtype.kind in "US":
        texts = [str(item) for item in value.ravel()]
        return texts[0] if len(texts) == 1 else "".join(texts)
    numbers = np.asarray(value, dtype=np.float64)
    return {"numbers": numbers.ravel().tolist(), "shape": list(numbers.shape)}


def limit_memory(most: int) -> None:
    """No more than ``most`` bytes and no core file, where the system has such limits."""
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit is what is left
        return
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    limit_memory(int(sys.argv[3]))
    content = loadmat(sys.argv[1], variable_names=[sys.argv[2]], struct_as_record=False)
    json.dump(plain(content[sys.argv[2]]) if sys.argv[2] in content else None, sys.stdout)
