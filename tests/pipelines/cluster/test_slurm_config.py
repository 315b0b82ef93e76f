"""The file that describes a batch job, and the options that go with it."""

import sys
from pathlib import Path

import pytest

import avqa
from avqa.errors import ConfigError
from avqa.pipelines.cluster.slurm_config import check_surroundings, choose_cluster

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
        ("walltme: 1\n", "c.yaml': .*no option 'walltme'; did you mean 'wal"),
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


def test_all_that_is_wrong_is_told_at_once(config):
    with pytest.raises(ConfigError) as caught:
        config("walltme: 1\nmemory: lots\njob_cpu: few\nworker_timeout: never\n")
    assert "c.yaml': 5 things are wrong: (1) no option 'walltme'; did you mean" in str(caught.value)
    for text in (
        "(2) job_cpu='few'; expected a whole number; correct it",
        "(3) no walltime; expected the walltime of one job",
        "(4) memory='lots'; expected a size like 32GB",
        "(5) worker_timeout='never'; expected a time as SLURM writes it",
    ):
        assert text in str(caught.value)


def test_what_a_job_will_find_is_checked(config, tmp_path):
    read = config(interface="lo", python=sys.executable)
    assert check_surroundings(read) == [
        f"python of the jobs: {sys.executable}, avqa {avqa.__version__} as here"
    ]
    with pytest.raises(
        ConfigError,
        match=r"2 things are wrong: \(1\) interface='ib7' is none of"
        r" this machine; expected one of .*lo.*; correct it, see `ip link`; \(2\) python='/none'"
        r" does not run here \(No such file or directory\); expected one with avqa=",
    ):
        check_surroundings(config(interface="ib7", python="/none"))
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 9.9\n", encoding="utf-8")
    other.chmod(0o755)
    with pytest.raises(ConfigError, match=r"python='.*/python' has avqa=9.9; expected one with"):
        check_surroundings(config(python=str(other)))
    other.write_text("#!/bin/sh\necho 'No module named avqa' >&2\nexit 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"cannot load avqa \(No module named avqa\)"):
        check_surroundings(config(python=str(other)))


def test_options_that_do_not_belong_together(tmp_path):
    with pytest.raises(ConfigError, match="scheduler=slurm; .*; give --jobs N --cluster-config F"):
        choose_cluster("slurm", EXAMPLE, None)
    with pytest.raises(ConfigError, match="scheduler=local; expected slurm with --jobs and"):
        choose_cluster("local", None, 2)
    with pytest.raises(ConfigError, match="none.yaml': cannot be read; expected a YAML file"):
        choose_cluster("slurm", tmp_path / "none.yaml", 2)
    assert choose_cluster("sync", None, None) is None
