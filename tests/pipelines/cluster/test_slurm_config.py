"""The file that describes a batch job, and the options that go with it."""

from pathlib import Path

import pytest

from avqa.errors import ConfigError, UnknownName
from avqa.pipelines.cluster.slurm_config import choose_cluster

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "slurm" / "cluster.yaml"


@pytest.mark.parametrize(
    ("directive", "device"),
    [
        ("--gres=gpu:1", "cuda"), ("--gres=craynetwork:1,gpu:a100:1", "cuda"),
        ("--gpus=1", "cuda"), ("--gpus-per-task=1", "cuda"), ("-G 1", "cuda"),
        ("--gres gpu", "cuda"), ("--gres=shard:1", "cpu"), ("--constraint=gpu", "cpu"),
    ],
)  # fmt: skip
def test_a_directive_that_asks_for_a_gpu_means_cuda(config, directive, device):
    assert config(job_extra_directives=f"[{directive!r}]").device == device


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("90:30", 5430), ("10:00:00", 36000), ("04:00:00", 14400),
        ("2-12", 216_000), ("2-12:30", 217_800), ("1-00:00:05", 86_405),
    ],
)  # fmt: skip
def test_times_are_read_as_slurm_reads_them(config, text, seconds):
    read = config(walltime=text)
    assert read.walltime_seconds == seconds
    assert read.options["walltime"] == text  # YAML alone makes 36000 of 10:00:00


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("walltme: 1\n", "no option of --cluster-config '.*c.yaml', 'walltme'; did you mean 'wal"),
        ("memory: 1GB\n", "c.yaml': no walltime; expected the walltime of one job, like 04:00:00"),
        ("walltime: 1\n", "c.yaml': no memory; expected the memory of one job, like 32GB; add it"),
        ("walltime: soon\nmemory: 1GB\n", "walltime='soon'; expected a time as SLURM writes it"),
        ("walltime: 1:2:3:4\nmemory: 1GB\n", "walltime='1:2:3:4'; expected a time"),
        ("walltime: 1\nmemory: lots\n", "memory='lots'; expected a size like 32GB; correct it"),
        ("cores: 8\n", r"cores is set by avqa \(one worker of 2 threads per job\); .* use job_cpu"),
        ("job_cpu: few\n", "job_cpu='few'; expected a whole number; correct it"),
        ("job_extra_directives: --gres=gpu:1\n", "expected a list, one item per line with a dash"),
        ("scheduler_options: 1\n", "scheduler_options='1'; expected `name: value` lines"),
        ("queue: [a]\n", r"queue=\['a'\]; expected a single value; correct it"),
        ("- a\n", "c.yaml': expected `name: value` lines like those of /.*/examples/slurm"),
        (
            "a: [b\n",
            "c.yaml': while parsing a flow sequence .* expected YAML like /.*/examples/slurm",
        ),
    ],
)
def test_a_bad_file_is_one_line(config, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        config(text)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UnknownName) == ("walltme" in text)


def test_options_that_do_not_belong_together(tmp_path):
    with pytest.raises(ConfigError, match="scheduler=slurm; .*; give --jobs N --cluster-config F"):
        choose_cluster("slurm", EXAMPLE, None)
    with pytest.raises(ConfigError, match="scheduler=local; expected slurm with --jobs and"):
        choose_cluster("local", None, 2)
    with pytest.raises(ConfigError, match="none.yaml': cannot be read; expected a YAML file"):
        choose_cluster("slurm", tmp_path / "none.yaml", 2)
    assert choose_cluster("sync", None, None) is None
