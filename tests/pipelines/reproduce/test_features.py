"""Parts of an array job: what a task says that others have not done, and who joins them."""

from dataclasses import replace
from pathlib import Path

from helpers.extraction.light import POOL
from helpers.media import fake_reader

from avqa.pipelines.extraction.array_job import Partition
from avqa.pipelines.reproduce.asked import ReproduceOptions
from avqa.pipelines.reproduce.features import _merge
from avqa.store.places.files import store_path
from avqa.store.reader import FeatureStore


def test_the_last_task_joins_what_all_have_extracted(tmp_path, extract):
    for name in ("a", "b", "c"):
        fake_reader.write_video(tmp_path / "videos" / f"{name}.mp4", seconds=2)
    nowhere = Path()
    first = ReproduceOptions(
        videos=nowhere, annotations=nowhere, out=tmp_path, partition=Partition(0, 2)
    )
    path, said = store_path(tmp_path / "store"), []
    extract(features=(POOL,), partition=first.partition)
    assert _merge(path, first, said.append) == (
        "task 0/2 has extracted its share, others have not: 1/2 (not begun)"
    )
    assert said == []
    last = replace(first, partition=Partition(1, 2))
    extract(features=(POOL,), partition=last.partition)
    assert _merge(path, last, said.append) is None
    assert "3 videos: 3 from 2 parts" in said[-1]
    assert FeatureStore(path).video_ids == ("a", "b", "c")
    assert _merge(path, first, said.append) is None  # another came before
