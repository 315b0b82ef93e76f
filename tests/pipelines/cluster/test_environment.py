"""What a worker checks before its first bundle."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.extraction.worker_configs import POOL, config_of

from avqa.errors import EnvironmentFailure, RecipeMismatch
from avqa.pipelines.cluster import environment
from avqa.pipelines.cluster.worker import Extractor
from avqa.pipelines.engine.job import VideoJob
from avqa.store.lock import Lock


def refusal(config, path):
    """What a worker answers to a bundle of one video instead of a record."""
    extractor = Extractor(config, "worker tcp://10.0.0.7:1 (host=gpu07)")
    job = VideoJob(0, "v", "clips/v.mp4", str(path / "clips/v.mp4"), (POOL,))
    records, error = extractor.extract([job], 1)
    assert records == []
    assert str(error).startswith("worker tcp://10.0.0.7:1 (host=gpu07): ")
    return error


@pytest.fixture(scope="module")
def here(light):
    config = config_of(Path("store"))
    return environment.environment(config.engine.settings, config.engine.weights)


def test_a_worker_that_does_not_share_the_folders_says_which(tmp_path, here):
    config = config_of(tmp_path / "store", expected=here)
    error = refusal(config, tmp_path)
    assert isinstance(error, EnvironmentFailure)
    assert f"store {str(tmp_path / 'store')!r} is not there as the driver sees it" in str(error)
    with Lock.acquire(tmp_path / "store", "another-run"):
        assert "is not there as the driver sees it; exp" in str(refusal(config, tmp_path))
    with Lock.acquire(tmp_path / "store", "run"):
        error = refusal(config, tmp_path / "videos")
        assert f"folder {str(tmp_path / 'videos')!r}: no such folder there" in str(error)
        (tmp_path / "videos").mkdir()  # an empty place to mount something
        error = refusal(config, tmp_path / "videos")
        assert isinstance(error, EnvironmentFailure)
        assert "none of 1 videos there, the first is 'clips/v.mp4'; expected a" in str(error)


def test_a_worker_of_another_recipe_or_without_a_gpu_is_refused(tmp_path, here, gpus):
    with Lock.acquire(tmp_path / "store", "run"):
        recipes = json.loads(json.dumps(here.recipes))
        recipes[POOL]["decoder"]["version"] = "pyav 99"
        error = refusal(
            config_of(tmp_path / "store", expected=replace(here, recipes=recipes)), tmp_path
        )
        assert isinstance(error, RecipeMismatch)
        assert error.exit_code == 4
        told = (
            'features: another recipe: decoder.version: driver="pyav 99" worker="1"'
            " (light/pool); expected the same; use the same environment on all machines"
        )
        assert str(error).endswith(told)
        builds = {**here.versions, "torch": here.versions["torch"].partition("+")[0] + "+cu999"}
        environment._check_versions(builds)  # the same release for a GPU
        gpus(0, "3")
        config = config_of(tmp_path / "store", expected=here, device="cuda")
        error = refusal(config, tmp_path)
        assert "no GPU is visible here (CUDA_VISIBLE_DEVICES=3); expected an NVIDIA" in str(error)
        assert error.exit_code == 5
