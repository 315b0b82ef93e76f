"""Descriptions of batch jobs."""

import pytest

from avqa.pipelines.cluster.slurm_config import choose_cluster

LEAST = {"walltime": "04:00:00", "memory": "32GB"}


@pytest.fixture
def config(tmp_path):
    """Read a configuration of these values, or of this text."""

    def read(text="", *, jobs=2, **values):
        path = tmp_path / "c.yaml"
        path.write_text(
            text or "".join(f"{k}: {v}\n" for k, v in {**LEAST, **values}.items()), encoding="utf-8"
        )
        return choose_cluster("slurm", path, jobs)

    return read
