"""Lists of videos: what is read of them, and what is refused by row."""

import os

import pytest

from avqa.errors import ConfigError
from avqa.pipelines.extraction.collection.manifest import is_list, listed


@pytest.fixture
def files(tmp_path):
    """Two files, one of them below a folder."""
    (tmp_path / "more").mkdir()
    for name in ("a.mp4", "more/b.mkv"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def found(path):
    return [(source.video_id, source.relpath, source.path) for source in listed(path).sources]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "id,path\ntwo,more/b.mkv\none,a.mp4\n"),
        ("l.csv", "\ufeffPath;ID\r\nmore/b.mkv;two\r\na.mp4;one\r\n"),
        ("l.TSV", "video_id\tfile\textra\ntwo\tmore/b.mkv\t\none\ta.mp4\t7\n"),
        ("l.json", '[{"id": "two", "url": "more/b.mkv"}, {"id": "one", "path": "a.mp4"}]'),
        ("l.jsonl", '{"id": "two", "path": "more/b.mkv"}\n\n{"id": "one", "path": "a.mp4"}\n'),
    ],
)
def test_every_form_of_a_list_gives_the_same_videos(files, name, text):
    path = write(files, name, text)
    assert is_list(path)
    assert found(path) == [
        ("one", "a.mp4", str(files / "a.mp4")),
        ("two", "more/b.mkv", str(files / "more/b.mkv")),
    ]


def test_without_ids_a_video_is_called_as_its_file(files):
    path = write(files, "l.csv", f"path\n{files / 'a.mp4'}\ns3://bucket/far/c.webm\n")
    assert found(path) == [
        ("a", str(files / "a.mp4"), str(files / "a.mp4")),
        ("c", "s3://bucket/far/c.webm", "s3://bucket/far/c.webm"),
    ]


def test_a_text_has_a_path_a_line_as_find_prints_it(files):
    os.rename(files / "a.mp4", os.fsencode(files) + b"/caf\xe9, #2 .mp4")
    path = write(files, "l.TXT", b"\xef\xbb\xbf./caf\xe9, #2 .mp4\r\n\n./more/b.mkv")
    assert is_list(path)
    assert [row[:2] for row in found(path)] == [
        ("b", "./more/b.mkv"),
        ("caf\\xe9, #2 ", "./caf\udce9, #2 .mp4"),
    ]
    with pytest.raises(ConfigError, match=r"1 of 1 files are not there, the first is 'c.mp4'"):
        listed(write(files, "gone.txt", "c.mp4\n"))
    with pytest.raises(ConfigError, match="has no rows; expected rows with path"):
        listed(write(files, "empty.txt", "\n"))


def test_numbers_are_ids_and_names_are_bytes(files):
    os.rename(files / "a.mp4", os.fsencode(files) + b"/caf\xe9.mp4")
    path = write(files, "l.csv", b"id,path\n93,more/b.mkv\nx,caf\xe9.mp4\n")
    assert [source.video_id for source in listed(path).sources] == ["93", "x"]
    assert os.path.exists(listed(path).sources[1].path)
    path = write(files, "l.jsonl", '{"id": 93, "path": "more/b.mkv"}')
    assert found(path)[0][0] == "93"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("l.csv", "", "its first line has the columns none; expected rows with path, and id if"),
        ("l.csv", "one,a.mp4\n", r"its first line has the columns 'one', 'a.mp4'; expected rows"),
        ("l.csv", "id,path\n", "has no rows; expected rows with path"),
        ("l.csv", "id,path\nx,\n", r"row 1 has path=None id='x'; expected rows with path"),
        ("l.json", '[{"path": 7}]', "row 1 has path=7 id=None; expected rows"),
        ("l.json", '[{"path": "a.mp4", "id": [1]}]', r"row 1 has path='a.mp4' id=\[1\]; expected"),
        ("l.json", "[1]", "row 1 is no JSON object; expected rows"),
        ("l.json", "[{", "Expecting property name"),
        ("l.jsonl", '{"path": "a.mp4"}\nnull\n', "row 2 is no JSON object"),
        ("l.csv", "id,path\nx,a.mp4\nx,more/b.mkv\n", "two rows have id='x': 'a.mp4' and 'more"),
        ("l.csv", "path\na.mp4\nc.mp4\n", "1 of 2 files are not there, the first is 'c.mp4'; exp"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(files, name, text, said):
    with pytest.raises(ConfigError, match=said):
        listed(write(files, name, text))


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"list of videos .* cannot be read: No such file or dir"):
        listed(tmp_path / "l.csv")
    (tmp_path / "folder.csv").mkdir()
    assert not is_list(tmp_path / "folder.csv")
