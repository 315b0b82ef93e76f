"""One question at a time, whatever the last one met."""

import contextlib
import threading

import pytest
from helpers.runs import asked_runs, served

from avqa.errors import ConfigError, MediaError
from avqa.pipelines.serve import desk as desks
from avqa.pipelines.serve.choices import Videos
from avqa.pipelines.serve.desk import Desk, told
from avqa.pipelines.serve.page import Answering

TEXT = "Is there a violin sound?"


@pytest.fixture
def desk(tmp_path):
    run = served.blind_run(tmp_path)
    (tmp_path / "room").mkdir()
    made = Desk(run, "cpu", tmp_path / "room", print)
    yield made
    made.close()


@pytest.fixture
def videos(tmp_path, desk):
    return tmp_path / "videos"


def test_what_was_loaded_is_kept_for_the_next_question_about_a_video(desk, videos, monkeypatch):
    made = []
    session = desks.Session
    monkeypatch.setattr(desks, "Session", lambda *given: made.append(given[1]) or session(*given))
    first = desk.answer(videos / "a.mp4", TEXT)
    with pytest.raises(ConfigError, match="no word of the question is known"):
        desk.answer(videos / "a.mp4", "xyzzy")
    assert desk.answer(videos / "a.mp4", TEXT).answers == first.answers
    assert made == [videos / "a.mp4"]
    with pytest.raises(MediaError):
        desk.answer(videos / "broken.mp4", TEXT)
    desk.answer(videos / "a.mp4", TEXT)
    (videos / "a.mp4").touch()
    desk.answer(videos / "a.mp4", TEXT)
    assert made == [videos / name for name in ("a.mp4", "broken.mp4", "a.mp4", "a.mp4")]


def test_a_session_that_failed_half_way_is_not_kept(desk, videos, monkeypatch):
    answers = desks.Session.answers
    desk.answer(videos / "a.mp4", TEXT)
    monkeypatch.setattr(desks.Session, "answers", lambda *_: iter([][0:0]))
    with pytest.raises(ValueError, match="not enough values"):
        desk.answer(videos / "a.mp4", TEXT)
    assert desk._session is None
    monkeypatch.setattr(desks.Session, "answers", answers)
    assert desk.answer(videos / "a.mp4", TEXT).answers


def test_questions_wait_for_each_other(desk, videos, monkeypatch):
    """The first waits a moment for company, which must not come."""
    met, together = threading.Barrier(2), []
    answers = desks.Session.answers

    def watched(session, asked):
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(0.5)
            together.append(1)
        yield from answers(session, asked)

    monkeypatch.setattr(desks.Session, "answers", watched)
    desk.answer(videos / "a.mp4", TEXT)
    met.reset()
    threads = [
        threading.Thread(target=desk.answer, args=(videos / "a.mp4", TEXT)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert together == []


def test_one_video_after_the_other_is_extracted(tmp_path, monkeypatch, kept_weights):
    """With real decoders, which an extraction ends, and a real network."""
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "cache"))
    said = []
    desk = Desk(served.hearing_run(tmp_path), "cpu", tmp_path, said.append)
    long, short = asked_runs.clip(), asked_runs.clip(2.0)
    found = [desk.answer(video, TEXT) for video in (long, short, long)]
    desk.close()
    assert [one.num_rows for one in found] == [1, 1, 1]
    assert [one.made for one in found] == [("vggish/audio",), ("vggish/audio",), ()]
    assert found[0].answers == found[2].answers
    assert said.count("extracting vggish/audio") == 2


@pytest.fixture
def quick(monkeypatch):
    """Explanations are folders without pictures: drawing takes seconds."""
    monkeypatch.setattr(desks, "explain", lambda answer, folder, link: folder.mkdir())


def test_explanations_are_kept_up_to_a_number(desk, videos, monkeypatch, quick):
    answer = desk.answer(videos / "a.mp4", TEXT)
    monkeypatch.setattr(desks, "KEPT", 2)
    numbers = [desk.explain(answer) for _ in range(3)]
    assert numbers == [1, 2, 3]
    assert desk.explanation(1) is None
    kept = desk.explanation(3)
    assert (kept.video, kept.folder.is_dir()) == (videos / "a.mp4", True)
    assert sorted(path.name for path in kept.folder.parent.iterdir()) == ["2", "3"]


def test_the_page_of_an_explanation_plays_the_video_beside_it(desk, videos):
    number = desk.explain(desk.answer(videos / "a.mp4", TEXT))
    page = (desk.explanation(number).folder / "explanation.html").read_text(encoding="utf-8")
    assert 'src="./video"' in page


def test_a_server_that_ends_answers_no_more(desk, videos):
    desk.close()
    with pytest.raises(ConfigError, match="the server is ending; expected it to go on; "):
        desk.answer(videos / "a.mp4", TEXT)


def shown(desk, videos, picked, dropped, text):
    """All that a page shows of one question, one after the other."""
    return list(
        Answering(desk, Videos(videos, lambda _: None), lambda _: None).ask(picked, dropped, text)
    )


def test_a_page_shows_the_answers_then_the_explanation(desk, videos, quick):
    first, last = shown(desk, videos, 0, None, TEXT)
    answer = desk.answer(videos / "a.mp4", TEXT)
    assert first[0] == last[0] == dict(answer.answers[:5])
    assert "<p>looked at: the question alone</p>" in last[1]
    assert "drawing the explanation" in first[2]
    assert 'src="/explanations/1/explanation.html"' in last[2]


def test_a_page_shows_an_error_as_the_command_would(desk, videos, quick):
    for picked, text, message in (
        (0, "xyzzy", "avqa: no word of the question is known to this head: &#x27;xyzzy&#x27;"),
        (1, TEXT, "is not a video we read"),
        (None, TEXT, "avqa: no video; expected one; pick or drop one"),
        (7, TEXT, "avqa: video number 7; expected one of 3 videos"),
    ):
        ((answers, lines, why),) = shown(desk, videos, picked, None, text)
        assert (answers, why) == ({}, "")
        assert lines.startswith('<p class="wrong">avqa: ')
        assert message in lines
    assert shown(desk, videos, 0, None, TEXT)[0][0]


def test_an_answer_stays_where_its_explanation_cannot_be_drawn(desk, videos, monkeypatch):
    def fails(*given, **named):
        raise MediaError("corrupt", "the frames are gone")

    monkeypatch.setattr(desks, "explain", fails)
    first, last = shown(desk, videos, 0, None, TEXT)
    assert last[0] == first[0]
    assert last[1:] == (first[1] + '<p class="wrong">avqa: the frames are gone</p>', "")


def test_a_dropped_video_is_taken_before_the_picked_one(desk, videos, quick):
    dropped = videos / served.ODD
    shown(desk, videos, 0, str(dropped), TEXT)
    assert desk.explanation(1).video == dropped


def test_a_defect_is_told_with_its_traceback_on_the_terminal():
    said = []
    try:
        raise ZeroDivisionError("odd")
    except ZeroDivisionError as error:
        line = told(error, said.append)
    assert line.startswith("avqa: internal error: ZeroDivisionError: odd; expected no such thing; ")
    assert "Traceback" in said[0]
    assert said[1] == line
    assert told(MemoryError(), said.append).startswith("avqa: out of memory: ")
