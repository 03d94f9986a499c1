"""What a file asks for is refused before memory or time is spent on it."""

import json
import os
import struct
import zlib

import numpy as np
import pytest

from autopose.data.checks import image_problem, inside, read_image, read_json
from autopose.errors import UserError
from autopose.runs.runtime import printable


def png_of(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that claims a size, its rows all zero."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10**6, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_picture_of_absurd_size_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(30000, 30000))
    with pytest.raises(UserError, match="30000x30000 px"):
        read_image(path)
    assert "30000x30000 px" in image_problem(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_and_devices_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(UserError, match="no regular file"):
            read_image(path)
        assert "no regular file" in image_problem(path)
        with pytest.raises(UserError, match="no regular file"):
            read_json(path, "annotation file")


def test_a_loop_of_links_is_one_sentence(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(UserError, match="cannot be read"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "/etc/passwd"])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="leads out of the images' folder"):
        inside(tmp_path / "images", name, "image 1")


def test_names_below_the_folder_are_taken(tmp_path):
    folder = tmp_path / "images"
    assert inside(folder, "a/../b..png", "image 1") == str(folder / "b..png")
    assert inside(folder, str(folder / "c.png"), "image 1") == str(folder / "c.png")


def test_terminal_commands_are_printed_as_text():
    assert printable("a\x1b[31mb\x07\n\tc ä") == "a\\x1b[31mb\\x07\n\tc ä"


def test_deep_json_is_one_sentence(tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not JSON"):
        read_json(tmp_path / "deep.json", "annotation file")
    (tmp_path / "nan.json").write_text(json.dumps({"a": float(np.inf)}))
    assert read_json(tmp_path / "nan.json", "annotation file") == {"a": np.inf}
