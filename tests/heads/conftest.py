"""What all tests of heads share."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def _small_networks(one_thread):
    """They are small."""
