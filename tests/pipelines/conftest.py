"""Shared by the pipeline tests: runs of the real driver on scripted videos."""

import pytest
from helpers.extraction.light import POOL
from helpers.media import fake_reader

from avqa.extract.media.types import Limits
from avqa.extract.profiles import profile
from avqa.pipelines.extraction.run import ExtractOptions, extract_folder


@pytest.fixture
def extract(tmp_path, light, reused_children):
    """Run `extract_folder` on tmp_path/videos; keyword arguments replace the options."""

    def run(store="store", *, features=(POOL,), say=lambda line: None, **options):
        choices = {
            name: options.pop(name)
            for name in ("frame_at", "precision", "dtype", "chunk_seconds", "weights")
            if name in options
        }
        choices.setdefault("weights", "random:0")
        settings = profile("default", features=features, decoder=fake_reader.DECODER, **choices)
        options.setdefault("scheduler", "sync")
        options.setdefault("limits", Limits(timeout_seconds=20))
        return extract_folder(
            ExtractOptions(
                options.pop("videos", tmp_path / "videos"), tmp_path / store, settings, **options
            ),
            say,
        )

    return run
