"""Which files are taken, under which id, and what is refused."""

import os

import pytest

from avqa.errors import ConfigError
from avqa.pipelines.extraction.collection.sources import (
    check_id_rule,
    discover,
    read_ids,
    select,
)


def touch(folder, *names):
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def ids(found):
    return [source.video_id for source in found.sources]


def test_ids_are_paths_below_the_folder_without_extension(tmp_path):
    touch(tmp_path, "b.mp4", "a/x.MKV", "a/deep/y.webm", "two.dots.mov")
    found = discover(tmp_path)
    assert ids(found) == ["a/deep/y", "a/x", "b", "two.dots"]
    assert found.sources[1].relpath == "a/x.MKV"
    assert os.path.samefile(found.sources[1].path, tmp_path / "a/x.MKV")


def test_other_files_are_counted_in_one_line(tmp_path):
    touch(tmp_path, "a.mp4", "b.wav", "c.wav", "README")
    assert discover(tmp_path).notes() == ["ignored: 3 files (.wav, no extension)"]
    touch(tmp_path / "one", "a.mp4", "b.wav")
    assert discover(tmp_path / "one").notes() == ["ignored: 1 file (.wav)"]


def test_extensions_can_be_chosen(tmp_path):
    touch(tmp_path, "a.mp4", "b.dat")
    assert ids(discover(tmp_path, extensions=["dat"])) == ["b"]


def test_names_are_bytes(tmp_path):
    touch(tmp_path, b"-dash.mp4", b"new\nline.mp4", b"caf\xe9.mp4", b"sp ace.mp4")
    found = discover(tmp_path)
    assert ids(found) == ["-dash", "caf\\xe9", "new\nline", "sp ace"]
    assert all(os.path.exists(source.path) for source in found.sources)
    assert os.fsencode(found.sources[1].relpath) == b"caf\xe9.mp4"
    "".join(ids(found)).encode("utf-8")  # ids are valid Unicode


def test_two_files_with_one_id_are_refused_naming_both(tmp_path):
    touch(tmp_path, "a.mp4", "a.mkv")
    with pytest.raises(ConfigError, match=r"share the id 'a': 'a.mkv' and 'a.mp4'; expected one"):
        discover(tmp_path)


def test_stem_ids_collide_across_folders(tmp_path):
    touch(tmp_path, "x/a.mp4", "y/a.mp4")
    assert ids(discover(tmp_path)) == ["x/a", "y/a"]
    with pytest.raises(ConfigError, match="share the id 'a': 'x/a.mp4' and 'y/a.mp4'"):
        discover(tmp_path, id_rule="stem")


def test_folder_errors_say_what_and_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match="'.*nowhere' does not exist; .*--videos"):
        discover(tmp_path / "nowhere")
    touch(tmp_path, "file")
    with pytest.raises(ConfigError, match="is a file; expected a folder"):
        discover(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no video in '.*empty'; expected files ending in 3gp"):
        discover(tmp_path / "empty")
    touch(tmp_path / "other", "a.txt")
    with pytest.raises(ConfigError, match=r"no video in .*; ignored: 1 file \(\.txt\); .*--ext"):
        discover(tmp_path / "other")


def test_links_inside_are_followed_others_reported(tmp_path):
    touch(tmp_path / "videos", "a.mp4", "sub/b.mp4")
    touch(tmp_path / "elsewhere", "c.mp4")
    videos = tmp_path / "videos"
    (videos / "inside.mp4").symlink_to(videos / "a.mp4")
    (videos / "outside").symlink_to(tmp_path / "elsewhere")
    found = discover(videos)
    assert ids(found) == ["a", "inside", "sub/b"]
    assert found.notes() == [
        "skipped: 1 symbolic links that lead out of the folder ('outside');"
        " take them with --follow-links"
    ]
    assert ids(discover(videos, follow_links=True)) == ["a", "inside", "outside/c", "sub/b"]


def test_link_loops_end(tmp_path):
    touch(tmp_path, "a.mp4")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert ids(discover(tmp_path, follow_links=True)) == ["a"]


def test_select_by_list_and_limit(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    sources = discover(tmp_path).sources
    (tmp_path / "ids.txt").write_text("c\n\nb\n", encoding="utf-8")
    assert [s.video_id for s in select(sources, tmp_path / "ids.txt", None)] == ["b", "c"]
    assert [s.video_id for s in select(sources, None, 2)] == ["a", "b"]
    (tmp_path / "ids.txt").write_text("c\nzebra\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="1 of 2 ids in .* have no video, the first is 'zebra'"):
        select(sources, tmp_path / "ids.txt", None)
    with pytest.raises(ConfigError, match="cannot be read: No such file.*--ids"):
        select(sources, tmp_path / "none.txt", None)
    (tmp_path / "ids.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match="cannot be read: it is no UTF-8 text; expected one id"):
        select(sources, tmp_path / "ids.txt", None)


def test_a_folder_that_may_not_be_read_is_said_so(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "closed/b.mp4")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr("avqa.pipelines.extraction.collection.sources.os.scandir", refusing)
    found = discover(tmp_path)
    assert ids(found) == ["a"]
    assert found.notes() == [
        "skipped: 1 folders that cannot be read, the first is 'closed'; check their permissions"
    ]


def test_id_rules():
    assert check_id_rule("stem") == "stem"
    with pytest.raises(ConfigError, match="id='name'; expected relpath or stem; check --id"):
        check_id_rule("name")


def test_a_list_of_ids_may_come_from_another_editor(tmp_path):
    (tmp_path / "ids.txt").write_bytes("\ufeffcaf\u00e9\r\n\r\n b \r\ncaf\u00e9".encode())
    assert read_ids(tmp_path / "ids.txt") == {"caf\u00e9", "b"}


@pytest.mark.parametrize("text", ["", "\n", " \n\t\r\n", "\ufeff\n"])
def test_a_list_without_ids_is_a_mistake(tmp_path, text):
    (tmp_path / "ids.txt").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ids\.txt' names no video; expected one id per line; "):
        read_ids(tmp_path / "ids.txt")
