"""A SLURM for the tests of this folder."""

import tempfile
from pathlib import Path

import pytest
from helpers.slurm_node import SlurmNode, missing


@pytest.fixture(scope="session")
def slurm():
    """A running single-node SLURM; `slurm.env` is the environment of its commands."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    # Not in pytest's folder: a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, SlurmNode(Path(folder)) as node:
        yield node
