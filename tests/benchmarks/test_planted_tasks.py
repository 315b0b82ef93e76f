"""A planted answer cannot be had by pooling or from the question, and is where it is said to be."""

import pytest
import torch

from benchmarks import planted_tasks
from benchmarks.planted_cases import CASES, TASKS
from benchmarks.planted_tasks import ANSWERS, CHANCE, MARKER, PLACES, Codes, plant

IN_TIME = ("second", "modality", "sense", "worded", "rare", "cued", "elsewhere")
CUED = ("cued", "elsewhere")


@pytest.fixture
def quiet(monkeypatch):
    monkeypatch.setattr(planted_tasks, "NOISE", 0.0)
    monkeypatch.setattr(planted_tasks, "WIDTH", 128)  # more than there are codes


def planted(task, batch=400):
    return plant(task, Codes(0), batch, torch.Generator().manual_seed(1))


def parts(x, *tables):
    """How often each code is in each row of x [B, D]: one [B, n] a table."""
    table = torch.cat(tables)
    return (x @ torch.linalg.pinv(table)).split([len(t) for t in tables], -1)


@pytest.mark.parametrize("task", TASKS)
def test_a_pool_tells_the_contents_of_the_video_but_not_which_is_asked_for(task, quiet):
    made, codes = planted(task, batch=1000), Codes(0)
    pooled = made.inputs.patch.mean((1, 2))
    kinds = [codes.seen_content, codes.seen_other]
    markers, *found = parts(pooled, codes.seen, *kinds)
    contents = found[0]
    if task == "attribute":
        contents = torch.stack(found, 1)[torch.arange(1000), made.asked]
    if task not in CUED:
        torch.testing.assert_close(markers, markers[:1].expand_as(markers), atol=1e-4, rtol=0)
    there = contents > 0.01
    torch.testing.assert_close(contents, there * contents[there].mean(), atol=1e-4, rtol=0)
    items = 6 if task in CUED else PLACES
    assert (there.sum(1) == items).all()
    rank = (there.cumsum(1) - 1).gather(1, made.answers[:, None])[:, 0]
    asked = (made.asked == 1) | (task == "attribute")
    assert there.gather(1, made.answers[:, None])[asked].all()
    share = torch.bincount(rank[asked], minlength=items) / asked.sum()
    assert share.max() < 1 / items + 0.06


def test_pooled_sound_is_as_silent(quiet):
    codes, made = Codes(0), planted("second")
    _, contents = parts(made.inputs.audio.mean(1), codes.heard, codes.heard_content)
    there = contents > 0.01
    assert (there.sum(1) == PLACES).all()
    torch.testing.assert_close(contents, there * contents[there].mean(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_even_and_independent_of_the_question(task):
    made = planted(task, batch=4000)
    assert torch.bincount(made.answers, minlength=ANSWERS).min() > 4000 / ANSWERS * 0.7
    marker = made.inputs.tokens[:, -1]
    for word in marker.unique():
        share = torch.bincount(made.answers[marker == word], minlength=ANSWERS).max()
        assert share / (marker == word).sum() * 100 < CHANCE + 4


@pytest.mark.parametrize("task", IN_TIME)
def test_the_evidence_in_time_is_where_it_is_said_to_be(task, quiet):
    made, codes = planted(task), Codes(0)
    rows = torch.arange(len(made.answers))
    heard, seen = made.inputs.audio[rows, made.place], made.inputs.patch[rows, made.place, 0]
    by_ear = (made.asked == 0) & (torch.tensor(task != "elsewhere"))
    found = torch.where(
        by_ear[:, None],
        heard - codes.heard_content[made.answers],
        seen - codes.seen_content[made.answers],
    )
    table = torch.where(by_ear[:, None, None], codes.heard, codes.seen)
    marker = torch.cdist(found[:, None], table)[:, 0].argmin(1)
    assert (found - table[rows, marker]).abs().max() < 1e-5
    if task not in CUED:
        assert (marker == made.inputs.tokens[:, -1] - MARKER).all()


@pytest.mark.parametrize("task", CUED)
def test_cues_name_the_marker_in_other_seconds(task, quiet):
    made, codes = planted(task), Codes(0)
    rows = torch.arange(len(made.answers))
    seen = made.inputs.patch[rows, made.place, 0] - codes.seen_content[made.answers]
    marker = torch.cdist(seen, codes.seen).argmin(1)
    cue = codes.heard[-1] + codes.heard[marker]
    cued = (made.inputs.audio - cue[:, None]).norm(dim=-1) < 1e-4
    assert (cued.sum(1) == 3).all()
    assert not cued[rows, made.place].any()
    shown = codes.seen[-1] + codes.seen[marker]
    alike = (made.inputs.patch[:, :, 0] - shown[:, None]).norm(dim=-1) < 1e-4
    assert (alike == (cued if task == "cued" else torch.zeros_like(cued))).all()
    assert (made.inputs.sources.sum(1) == 6).all()
    assert (made.inputs.sources[rows, marker] == 1).all()


@pytest.mark.parametrize("task", ["patch", "sounding"])
def test_the_evidence_in_space_is_where_it_is_said_to_be(task, quiet):
    made, codes = planted(task), Codes(0)
    index = made.place[..., None, None].expand(-1, -1, 1, made.inputs.patch.shape[-1])
    seen = made.inputs.patch.gather(2, index)[:, :, 0]
    if task == "patch":
        marker = made.inputs.tokens[:, -1] - MARKER
    else:
        marker = torch.cdist(made.inputs.audio[:, 0], codes.heard).argmin(1)
    wanted = codes.seen[marker] + codes.seen_content[made.answers]
    assert (seen - wanted[:, None]).abs().max() < 1e-5


def test_no_word_says_which_sense_is_asked_about(quiet):
    made, codes = planted("sense"), Codes(0)
    assert (made.inputs.tokens[:, :-1] == planted_tasks.FILLER).all()
    filler = codes.words[planted_tasks.FILLER].expand_as(made.inputs.words[:, 1:-1])
    torch.testing.assert_close(made.inputs.words[:, 1:-1], filler)
    label = torch.where(made.asked == 0, planted_tasks.HEARD, planted_tasks.SEEN)
    assert (made.inputs.type_tokens[:, 0] == label).all()
    left = made.inputs.sentence - made.inputs.words[:, -1]
    torch.testing.assert_close(left, codes.words[label])


def test_the_sentence_does_not_say_which_sense_is_asked_about(quiet):
    made, codes = planted("worded"), Codes(0)
    label = torch.where(made.asked == 0, planted_tasks.HEARD, planted_tasks.SEEN)
    assert (made.inputs.tokens[:, -2] == label).all()
    torch.testing.assert_close(made.inputs.words[:, -2], codes.words[label])
    for said in (made.inputs.sentence, made.inputs.prompt):
        torch.testing.assert_close(said, made.inputs.words[:, -1])


def test_pictures_are_rarely_asked_about():
    assert 0.09 < planted("rare", batch=4000).asked.float().mean() < 0.16


@pytest.mark.parametrize("task", TASKS)
def test_evidence_has_the_norm_of_the_distractors(task):
    made = planted(task)
    for x in (made.inputs.audio, made.inputs.patch):
        norms = x.norm(dim=-1)
        assert norms.std() / norms.mean() < 0.25


def test_every_task_has_its_baselines_and_names_are_unique():
    for baseline in ("question_only", "late_fusion"):
        assert {case.task for case in CASES if case.head == baseline} == set(TASKS)
    assert len({case.name for case in CASES}) == len(CASES)
