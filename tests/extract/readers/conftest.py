"""Every reader there is; the cases of one whose library is not here are skipped."""

import pytest

from avqa.errors import LibraryMissing
from avqa.extract import readers
from avqa.extract.media.types import Reader
from avqa.extract.settings import Settings

DEFAULT = Settings().decoder


@pytest.fixture(params=readers.names())
def reader(request: pytest.FixtureRequest, ffmpeg: str) -> Reader:
    """Not the default one: without that nothing works, and it must not be passed over."""
    try:
        return readers.load(request.param).READER
    except LibraryMissing as error:
        if request.param == DEFAULT:
            raise
        pytest.skip(f"{request.param} is not installed: {error.__cause__}")
