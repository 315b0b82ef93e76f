"""What all tries read."""

import pytest
from helpers.reliability import commands


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Stores, runs, files and annotations, made once by the commands themselves."""
    import os  # DEV
    import pathlib  # DEV

    if os.environ.get("KEEP"):  # DEV
        kept = pathlib.Path(os.environ["KEEP"])  # DEV
        return kept if kept.exists() else commands.make_inputs(kept)  # DEV
    return commands.make_inputs(tmp_path_factory.mktemp("inputs") / "inputs")
