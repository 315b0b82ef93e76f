"""What ``--scheduler`` says of where workers are."""

import pytest

from avqa.errors import ConfigError
from avqa.pipelines.cluster.connect import device_of_workers, is_in_process, is_remote


@pytest.mark.parametrize(
    ("scheduler", "remote"),
    [("local", False), ("sync", False), ("slurm", True), ("tcp://a:1", True), ("tls://a:1", True)],
)
def test_which_workers_are_elsewhere(scheduler, remote):
    assert is_remote(scheduler) == remote


@pytest.mark.parametrize(
    ("scheduler", "gpus", "here"),
    [
        ("local", (), True),
        ("local", ("0",), True),
        ("local", ("0", "1"), False),
        ("sync", ("0", "1"), True),
        ("slurm", (), False),
        ("tcp://a:1", (), False),
    ],
)
def test_dask_is_for_several_workers(scheduler, gpus, here):
    assert is_in_process(scheduler, gpus) == here


@pytest.mark.parametrize(
    "address",
    ["", "tcp://", "tls://", "tcp://h", "tcp://h:", "tcp://:1", "tcp://h:0", "tcp://h:65536"]
    + ["tcp://h:x", "tcp://h h:1", " tcp://h:1", "tcp://h:1/x", "tcp://u@h:1", "tcp:h:1", "h:1"]
    + ["ucx://h:1", "http://h:1", "inproc://h"],
)
def test_what_is_no_address_is_refused_before_anybody_is_called(address):
    with pytest.raises(ConfigError, match=r"expected local, sync, slurm or an address like tcp:"):
        is_remote(address)


def test_addresses_may_be_numbers():
    assert is_remote("tcp://[::1]:8786")
    assert is_remote("tcp://10.0.0.1:8786/")


def test_the_device_is_that_of_the_workers(gpus, config):
    gpus(0)
    with_gpu, without = config(job_extra_directives="['--gres=gpu:1']"), config()
    assert device_of_workers("auto", "slurm", with_gpu) == "cuda"
    assert device_of_workers("cpu", "slurm", with_gpu) == "cpu"
    assert device_of_workers("auto", "slurm", without) == "cpu"
    assert device_of_workers("cuda", "slurm", without) == "cuda"  # taken at its word
    assert device_of_workers("cuda", "tcp://host:8786", None) == "cuda"
    assert device_of_workers("auto", "local", None) == "cpu"
    with pytest.raises(ConfigError, match="device=cuda; expected an NVIDIA GPU, none is visible"):
        device_of_workers("cuda", "local", None)
    with pytest.raises(ConfigError, match="scheduler='slurmy'; expected local, sync, slurm or an"):
        device_of_workers("auto", "slurmy", None)
