"""Latency tables as a cost: what they refuse, and that a network's time is the sum of its parts."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from autopose.errors import UserError
from autopose.space import OPS, MacroSpace, builtin_architecture
from autopose.space.latency import FORMAT, VERSION, LatencyTable, parts_of

SPACE = MacroSpace((4, 8), 2, 1, 2, 1, 4)
HARDWARE = {"cpu": "a processor", "threads": 2, "gpu": None, "torch": "2"}


def content(space=SPACE):
    """Every part takes its position in the list of parts, in ms, times the batch."""
    parts = [
        {"part": part, "branch": branch, "name": name, "batch": batch, "p50_ms": (n + 1) * batch}
        for n, (part, branch, name) in enumerate(parts_of(space, OPS))
        for batch in (1, 4)
    ]
    about = {"format": FORMAT, "version": VERSION, "space": {**asdict(space), "channels": [4, 8]}, "width": 2}
    return about | {
        "operations": list(OPS), "image_size": [48, 64], "num_joints": 17, "hardware": HARDWARE, "batches": [1, 4],
        "parts": parts,
    }  # fmt: skip


def written(tmp_path, **changes):
    path = tmp_path / "operations.json"
    path.write_text(json.dumps({**content(), **changes}))
    return path


def test_a_network_is_the_sum_of_its_parts(tmp_path):
    table = LatencyTable.load(written(tmp_path))
    ms = {part: n + 1 for n, part in enumerate(parts_of(SPACE, OPS))}
    found = builtin_architecture("single_scale", SPACE)
    edges = 3 + 3 + 2  # two individual cells of two nodes, and an aggregation cell of one node over two branches
    branch = edges * ms["operation", 0, "conv_3x3"] + 2 * ms["compress", 0, "individual"]
    branch += ms["compress", 0, "aggregation"] + ms["resample", 0, "1"]
    fixed = ms["stem", 0, ""] + ms["head", 0, ""]
    assert table.network_ms(found.macro, found.cells) == pytest.approx(fixed + SPACE.num_modules * branch)
    assert table.network_ms(found.macro, found.cells, 4) == pytest.approx(4 * (fixed + SPACE.num_modules * branch))
    assert table.operation_ms(1, "conv_5x5") == ms["operation", 1, "conv_5x5"]
    assert table.measured_on() == "a processor, 2 thread(s), PyTorch, folded"


def test_a_table_of_other_networks_is_refused_by_name(tmp_path):
    table = LatencyTable.load(written(tmp_path))
    table.check(SPACE, 2, [48, 64], OPS)
    table.check(replace(SPACE, min_active=1, beta_sharing="module"), 2, [48, 64], OPS)
    for wrong, said in (
        ((replace(SPACE, channels=(4, 4)), 2, [48, 64], OPS), "channels"),
        ((SPACE, 1, [48, 64], OPS), "width 2.0"),
        ((SPACE, 2, [64, 64], OPS), "image size"),
        ((SPACE, 2, [48, 64], (*OPS, "a.b:C")), "a.b:C"),
    ):
        with pytest.raises(UserError, match=said):
            table.check(*wrong)
    with pytest.raises(UserError, match="not of 3"):
        table.operation_ms(0, "conv_1x1", 3)


def test_what_is_no_table_is_one_sentence(tmp_path):
    whole = content()
    wrong = {
        "no latency table of version": {"version": 99},
        "stem": {"parts": whole["parts"][2:]},
        "hardware": {"hardware": {"cpu": "x"}},
        "p50_ms nan": {"parts": [{**whole["parts"][0], "p50_ms": float("nan")}, *whole["parts"][1:]]},
        "exactly the keys": {"space": {}},
    }
    for said, changes in wrong.items():
        said = "'threads'" if said == "hardware" else said
        with pytest.raises(UserError, match=said) as error:
            LatencyTable.load(written(tmp_path, **changes))
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="latency.operations=true writes one"):
        LatencyTable.load(tmp_path / "missing.json")


def test_it_is_read_without_pytorch(tmp_path):
    program = (
        "import sys; sys.modules['torch'] = None\nfrom autopose.space.latency import LatencyTable\n"
        f"print(LatencyTable.load({str(written(tmp_path))!r}).batches)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 4)", done.stderr
