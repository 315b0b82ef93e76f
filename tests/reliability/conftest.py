"""What all tries read."""

import pytest
from helpers.reliability import commands


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Stores, runs, files and annotations, made once by the commands themselves."""
    return commands.make_inputs(tmp_path_factory.mktemp("inputs") / "inputs")
