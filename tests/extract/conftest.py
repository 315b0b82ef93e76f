"""Shared by the tests of what is read and of what networks make of it."""

import gc

import pytest
from helpers.extraction import networks


@pytest.fixture(scope="module", autouse=True)
def _networks_go_with_their_file():
    """They take gigabytes, and several files are tested at a time."""
    yield
    for kept in (networks.output, networks.network, networks.state):
        kept.cache_clear()
    gc.collect()
