"""Conversion into a temporary folder, read back."""

import pytest

from autopose.data.convert import Settings, convert
from tests.data.convert.foreign import category_of, read_back


@pytest.fixture
def converted(tmp_path):
    """Converts a source and gives what came out, the folder's contents and the category."""

    def run(source, **settings):
        done = convert(Settings(source, tmp_path / "out", **settings))
        return done, read_back(done.folder), category_of(done.folder)

    return run
