"""A decoder process that starts while the rest of the command still loads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from avqa.errors import EnvironmentFailure
from avqa.extract.decoder.process import DecoderProcess
from avqa.extract.settings import Settings


@contextlib.contextmanager
def begun(reader: str | None) -> Iterator[DecoderProcess]:
    """One of this reader, or of the default one, which most stores have; ended with the block.

    What goes wrong is told by who asks it for something.
    """
    with DecoderProcess(reader or Settings.decoder) as decoder:
        with contextlib.suppress(EnvironmentFailure):
            decoder.begin()
        yield decoder
