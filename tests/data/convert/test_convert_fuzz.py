"""Damaged label files are converted without what is damaged, or refused in one sentence; never anything else."""

import random
import shutil

import pytest

from autopose.data.convert import Settings, convert
from autopose.errors import UserError
from tests.data.convert import foreign
from tests.data.convert.test_convert_formats import CASES

TOKENS = [b",", b"\n", b"nan", b"1e400", b"-1", b'"', b"[", b"{", b"null", b"<", b"0", b"\0", b"\xff"]
WORDS = [(b"x", b"y"), (b"[", b"{"), (b":", b""), (b"2", b"x"), (b'"points"', b'"p"'), (b".", b","), (b"group", b"g")]
MUTATIONS = 12


def damaged(data: bytes, rng: random.Random) -> bytes:
    place, other = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    kind = rng.randrange(5)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + rng.choice(TOKENS) + data[place:]
    if kind == 2:
        return data[:place] + data[other:]
    if kind == 3:
        return data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
    old, new = rng.choice(WORDS)
    return data.replace(old, new, rng.randrange(1, 4))


@pytest.mark.parametrize("case", CASES)
def test_damaged_labels(case, tmp_path):
    write, name, people, *_ = CASES[case]
    source = write(tmp_path / "source", foreign.draw_truth(count=4, people=people))
    root = source if source.is_dir() else source.parent
    labels = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".png")
    rng, refused = random.Random(case), 0
    for _ in range(MUTATIONS):
        path = rng.choice(labels)
        before = path.read_bytes()
        path.write_bytes(damaged(before, rng))
        try:
            convert(Settings(source, tmp_path / "out", format=rng.choice([None, name])))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and not (tmp_path / "out").exists()
        else:
            shutil.rmtree(tmp_path / "out")
        path.write_bytes(before)
    assert refused < MUTATIONS
