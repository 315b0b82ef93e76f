"""Networks take gigabytes: one encoder's are there at a time."""

from pathlib import Path

import pytest
from helpers.extraction import networks

from avqa import machine
from avqa.extract import encoders

CONTRACT = Path(__file__).with_name("test_contract.py")


def _encoder_of(item):
    """Of the contract's parameter, else the one that the file is about."""
    of_file = item.path.stem.removeprefix("test_")
    named = item.callspec.params.get("name", "") if hasattr(item, "callspec") else ""
    return named or (of_file if of_file in encoders.names() else "")


def pytest_collection_modifyitems(items):
    """The contract is asked of one encoder after the other."""
    places = [place for place, item in enumerate(items) if item.path == CONTRACT]
    ordered = sorted((items[place] for place in places), key=_encoder_of)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


@pytest.fixture(autouse=True)
def one_encoder_at_a_time(request):
    """What was built of the encoder before goes first, and what a test freed after it."""
    if name := _encoder_of(request.node):
        networks.keep_only(name)
    yield
    machine.give_memory_back()
