"""What a page offers."""

import pytest
from helpers.runs import asked_runs, run_folders, served

from avqa.errors import ConfigError
from avqa.pipelines.serve.choices import Videos, examples


def member(root, **changes):
    config = run_folders.config("question_only", features={}, weights="none", **changes)
    return run_folders.write_member(root, config)


@pytest.fixture
def folder(tmp_path):
    served.blind_run(tmp_path)
    return tmp_path / "videos"


def test_the_videos_of_a_folder_are_offered_without_links_out_of_it(folder):
    said = []
    videos = Videos(folder, said.append)
    assert videos.names == ["a.mp4", "broken.mp4", served.ODD]
    assert said == [
        f"note: 1 symbolic links that lead out of videos={str(folder)!r} are not offered"
    ]
    assert videos.path(0) == folder / "a.mp4"
    for number in (-1, 3):
        with pytest.raises(ConfigError, match=f"video number {number}; expected one of 3 videos"):
            videos.path(number)


def test_a_video_that_becomes_a_link_out_of_the_folder_is_refused(folder):
    videos = Videos(folder, print)
    (folder / "a.mp4").unlink()
    (folder / "a.mp4").symlink_to(folder.parent / "outside.mp4")
    with pytest.raises(ConfigError, match=r"video='a.mp4' leads out of videos=.*; pick another"):
        videos.path(0)


def test_a_folder_may_be_reached_by_a_link_itself(folder, tmp_path):
    (tmp_path / "there").symlink_to(folder)
    assert Videos(tmp_path / "there", print).path(0).samefile(folder / "a.mp4")


def test_without_a_folder_nothing_is_offered():
    videos = Videos(None, print)
    assert videos.names == []
    with pytest.raises(ConfigError, match="expected one of 0 videos"):
        videos.path(0)


def test_a_question_of_each_template_is_offered_the_frequent_first(tmp_path):
    annotations = str(asked_runs.annotation(tmp_path / "annotations"))
    said = []
    offered = examples(member(tmp_path / "run", annotations=annotations), said.append)
    assert (offered, said) == (["Is there a violin sound", "Where is the loudest instrument"], [])


def test_questions_that_are_gone_are_told_and_none_is_offered(tmp_path):
    said = []
    assert examples(member(tmp_path / "run"), said.append) == []
    (line,) = said
    assert line.startswith("note: no questions are offered, the run's question files are gone: ")
