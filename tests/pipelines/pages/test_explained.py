"""``explanation.html``: the numbers of ``explanation.json``, the frames, the link to the video."""

import base64
import dataclasses
import io
import json
import os
import pathlib
import shutil
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from helpers.media import clips
from helpers.pages.parsed import NASTY, Page, outside
from helpers.runs.answered import EVIDENCE, PATCHES, answer, clip
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.ask import explain as explaining
from avqa.pipelines.ask.explain import explain
from avqa.pipelines.extraction.frames import write_frames
from avqa.pipelines.pages.explained import MOST_STILLS, chosen_stills, link_to

TEXTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), max_size=20)
BYTES = st.one_of(TEXTS.map(str.encode), st.binary(max_size=20))
NAMES = BYTES.filter(lambda name: name not in (b"", b".", b"..") and not {0, 47} & {*name}).map(
    os.fsdecode
)
"""Of files: any bytes but a slash and a zero."""


@pytest.fixture(scope="module", autouse=True)
def _quick(tmp_path_factory):
    """The clip is decoded once, and the pictures beside the page are not drawn."""
    folder = tmp_path_factory.mktemp("frames") / "all"
    report = write_frames(clip(), folder, Settings(), Limits(), 60)

    def copied(video, out, settings, limits, max_rows):
        shutil.copytree(folder, out)
        return dataclasses.replace(report, folder=out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explaining, "write_frames", copied)
        patch.setattr(explaining, "draw_page", lambda page: b"")
        patch.setattr(explaining, "draw_time", lambda *_, **__: b"")
        yield


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explained")
    explain(answer(folder, EVIDENCE), folder / "out")
    return folder / "out", Page((folder / "out/explanation.html").read_bytes())


def test_it_has_the_numbers_beside_it(seen):
    folder, page = seen
    numbers = json.loads((folder / "explanation.json").read_text(encoding="utf-8"))
    found = page.data
    assert outside(page) == []
    assert found["rows"] == [[row["second"], row["pts_seconds"]] for row in numbers["rows"]]
    assert found["curves"] == [
        {"name": "audio", "weights": [0.4, 0, 0, 0.6]},
        {"name": "frames", "weights": [0, 1, 0, 0]},
    ]
    assert found["duration"] == pytest.approx(4, abs=0.2)
    grid = {"side": 7, "left": 0.2, "top": 0, "width": 0.6, "height": 1}
    assert found["grid"] == grid
    strength = np.array(found["patches"])
    assert strength.shape == (4, 49)
    assert [int(row.argmax()) for row in strength[[0, 1, 3]]] == [0, 8, 48]
    assert strength.max() == 255
    assert not strength[2].any()  # a second that the head left out
    assert PATCHES[0].max() > 0.5
    assert "70.0 %" in page.words
    assert numbers["question"] in page.words


def test_frames_are_those_of_the_rows(seen):
    _, page = seen
    assert list(page.data["stills"]) == ["0", "1", "2", "3"]
    for row, still in page.data["stills"].items():
        content = base64.b64decode(still.removeprefix("data:image/jpeg;base64,"))
        frame = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        assert clips.read_number(frame) == 8 * int(row) + 4


def test_the_link_leads_to_the_video(seen):
    folder, page = seen
    (video,) = page.of("video")
    target = os.path.join(os.fsencode(folder), unquote_to_bytes(video["src"]))
    assert os.path.samefile(target, answer(folder, {}).video)


@given(NAMES)
def test_a_link_survives_any_name(name):
    video = pathlib.Path("/videos") / name
    link = link_to(video, pathlib.Path("/out"))
    assert link.isascii()
    assert not set(link) & set("\"'<>#?:&")
    joined = os.path.join(b"/out", unquote_to_bytes(link))
    assert os.path.normpath(joined) == os.path.normpath(os.fsencode(video.resolve()))


def test_a_head_that_tells_nothing_has_a_page(tmp_path):
    explain(answer(tmp_path, {}, num_rows=None), tmp_path)
    page = Page((tmp_path / "explanation.html").read_bytes())
    assert page.data["curves"] == []
    assert page.data["patches"] is None
    assert page.data["grid"] is None
    assert not [i for i in page.of("input") if i.get("id") == "show"]


def test_no_text_runs(tmp_path):
    asked = answer(tmp_path, EVIDENCE)
    question = dataclasses.replace(asked.question, text=NASTY, answer=NASTY)
    asked = dataclasses.replace(
        asked,
        question=question,
        answers=((NASTY, 0.7), ("</script>", 0.3)),
        words=(NASTY, "</style>"),
        notes=(NASTY,),
    )
    explain(asked, tmp_path / "out")
    page = Page((tmp_path / "out/explanation.html").read_bytes())
    assert outside(page) == []
    assert all(image.get("src", "data:").startswith("data:") for image in page.of("img"))
    assert " ".join(NASTY.split()) in page.words


def test_long_videos_have_some_of_their_frames():
    assert chosen_stills(0) == []
    assert chosen_stills(3) == [0, 1, 2]
    many = chosen_stills(1000)
    assert len(many) == MOST_STILLS
    assert (many[0], many[-1]) == (0, 999)
    assert set(np.diff(many)) <= {16, 17}
