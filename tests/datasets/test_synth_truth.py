"""Scores and questions of the synthetic benchmark, without rendering a picture.

Every answer is worked out again here from ``truth.json``'s content alone, by other code.
"""

import ast
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.datasets._parts.taxonomy import NAMES
from avqa.datasets._parts.vocabulary import ANSWERS, MUSIC_AVQA
from avqa.datasets._parts.vocabulary import INSTRUMENTS as FIELD_INSTRUMENTS
from avqa.datasets._synth.balance import choose
from avqa.datasets._synth.drawing import is_sounding
from avqa.datasets._synth.facts import Facts
from avqa.datasets._synth.instruments import INSTRUMENTS, registers
from avqa.datasets._synth.questions import TEMPLATES, ask
from avqa.datasets._synth.score import check_settings, compose, split_of
from avqa.datasets._synth.writing import annotation_rows, truth
from avqa.errors import ConfigError, UnknownName
from avqa.pipelines.synth import rows_of

PLACES = ["left", "middle", "right"]
COUNT = ["zero", "one", "two", "three", "four", "five"]


class Witness:
    """Answers a filled template from one entry of ``truth.json``; refuses what is disputable."""

    def __init__(self, entry):
        self.entry, self.players = entry, entry["players"]
        self.on_screen = [p for p in self.players if p["place"] is not None]
        self.loud = [p for p in self.players if p["sounds"]]

    def the(self, instrument):
        [player] = [p for p in self.players if p["instrument"] == instrument]
        return player

    def standing(self, place):
        [player] = [p for p in self.on_screen if p["place"] == place]
        return player

    def next_to(self, player, side):
        sign = -1 if side == "left" else 1
        here = PLACES.index(player["place"])
        [other] = [p for p in self.on_screen if sign * (PLACES.index(p["place"]) - here) > 0]
        return other["instrument"]

    def edge(self, word, among=None):
        among = self.loud if among is None else among
        assert len(among) > 1
        starts = [p["sounds"][0][0] for p in among]
        start = min(starts) if word == "first" else max(starts)
        [player] = [p for p in among if p["sounds"][0][0] == start]
        if word == "last":
            assert player["sounds"][-1][1] == max(p["sounds"][-1][1] for p in among)
        return player

    def in_picture(self):
        assert all(p["place"] for p in self.loud)
        return self.loud

    def seconds(self, player):
        return {s for start, end in player["sounds"] for s in range(start, end)}

    def names(self, players):
        return {p["instrument"] for p in players}

    def compare(self, word, one, other):
        assert one["sounds"]
        assert other["sounds"]
        if word == "louder":
            assert abs(one["level_db"] - other["level_db"]) >= 6
            return one["level_db"] > other["level_db"]
        if word == "rhythmic":
            rates = one["strokes_per_second"], other["strokes_per_second"]
            assert max(rates) >= 2 * min(rates)
            return rates[0] > rates[1]
        longer = len(self.seconds(one)) - len(self.seconds(other))
        assert abs(longer) >= 2
        return longer > 0

    def player(self, words):
        """From ``the violin``, ``the violin on the left`` or ``the instrument on the left``."""
        if "on" not in words:
            return self.the(words[1])
        if words[1] == "instrument":
            return self.standing(words[-1])
        [player] = [
            p for p in self.on_screen if (p["instrument"], p["place"]) == (words[1], words[-1])
        ]
        return player

    def answer(self, text):
        """Of a filled question without its mark."""
        found = self._answer(text, text.split())
        return {True: "yes", False: "no"}.get(found, found) if isinstance(found, bool) else found

    def _answer(self, text, w):
        heard, seen = self.names(self.loud), self.names(self.on_screen)
        if " than the " in text:
            left, right = text.split(" than the ")
            word = next(x for x in ("louder", "rhythmic", "longer") if x in left)
            cut = {"louder": " louder", "rhythmic": " more", "longer": " playing"}[word]
            one = self.player(left.removeprefix("Is ").split(cut)[0].split())
            return self.compare(word, one, self.player(["the", *right.split()]))
        if text.startswith("Are there"):
            return {w[2], w[4]} <= (heard if w[5] == "sound" else seen)
        if text.startswith("Is there a") and w[3] != "voiceover" and w[2] == "a":
            return w[3] in (heard if w[4] == "sound" else seen)
        if text == "Is there a voiceover":
            return len(self.entry["voiceover"]) > 0
        if "always" in text:
            player = self.the(w[2])
            assert player["place"]
            return self.seconds(player) == set(range(self.entry["seconds"]))
        if text.startswith("Is this sound"):
            assert self.loud
            assert not self.entry["voiceover"]
            [answer] = {p["place"] is not None for p in self.loud}
            return answer
        if "coming from" in text:
            assert self.standing(w[7])
            return self.edge(w[2], self.in_picture())["place"] == w[7]
        if text.startswith("How many"):
            return COUNT[self.how_many(text, w)]
        return self.which(text, w)

    def how_many(self, text, w):
        if "heard" in text:
            assert len(self.names(self.loud)) == len(self.loud)
            return len(self.loud)
        if text.endswith("are in the entire video"):
            return [p["instrument"] for p in self.on_screen].count(w[2])
        if "appeared" in text:
            return len(self.names(self.on_screen))
        if "did not sound" in text:
            return sum(p["sounds"] == [] for p in self.on_screen)
        if w[2] == "sounding":
            return [p["instrument"] for p in self.in_picture()].count(w[3])
        if "types" in text:
            return len(self.names(self.in_picture()))
        assert text == "How many instruments are sounding in the video"
        return len(self.in_picture())

    def which(self, text, w):
        if text == "Where is the performance":
            return self.entry["background"]
        if text == "What kind of musical instrument is it":
            [name] = self.names(self.on_screen)
            return name
        if text.startswith("What is the instrument on"):
            return self.next_to(self.the(w[8]), w[6])
        if text.startswith("What kind of instrument"):
            at = {p["place"] for p in self.on_screen}
            order = PLACES if w[6] == "leftest" else PLACES[::-1]
            return self.standing(next(place for place in order if place in at))["instrument"]
        if text.startswith("What is the") and text.endswith("sounding instrument"):
            return self.next_to(self.edge(w[7], self.in_picture()), w[3])
        if w[-2] in ("loudest", "lowest"):
            levels = sorted(p["level_db"] for p in self.in_picture())
            level = levels[-1 if w[-2] == "loudest" else 0]
            [player] = [p for p in self.loud if p["level_db"] == level]
            assert len(self.loud) > 1
            return player["place"]
        if text.startswith("Where is the"):
            return self.edge(w[3], self.in_picture())["place"]
        if "at the same time" in text:
            mine = self.seconds(self.the(w[-1]))
            assert mine
            [name] = self.names(
                p for p in self.loud if p["instrument"] != w[-1] and mine & self.seconds(p)
            )
            return name
        if text.endswith("that comes in"):
            order = sorted(self.loud, key=lambda p: p["sounds"][0][0])
            starts = [p["sounds"][0][0] for p in order]
            assert len(set(starts)) == len(starts) > 1
            return order[["first", "second", "third", "fourth", "fifth"].index(w[3])]["instrument"]
        if "makes the sound" in text:
            pair = [p for p in self.in_picture() if p["instrument"] == w[1]]
            assert len(pair) == 2
            assert pair[0]["place"] != pair[1]["place"]
            same = pair[0]["sounds"] == pair[1]["sounds"]
            return "simultaneously" if same else self.edge(w[-1], pair)["place"]
        assert text.startswith("Which instrument makes sounds")
        start = self.the(w[-1])["sounds"][0][0]
        before = w[4] == "before"
        [other] = [
            p
            for p in self.loud
            if (p["sounds"][0][0] < start if before else p["sounds"][0][0] > start)
        ]
        return self.the(other["instrument"])["instrument"]


def filled(row):
    """The question as people read it, without its mark."""
    values = iter(ast.literal_eval(row["templ_values"]))
    words = [
        next(values) + word[word.index(">") + 1 :] if word.startswith("<") else word
        for word in row["question_content"].split()
    ]
    assert next(values, None) is None
    return " ".join(words).rstrip("?？")


def benchmark(videos, seconds, instruments, seed):
    asked = check_settings(videos, seconds, instruments, seed)
    scenes = {
        split: [compose(asked, number) for number in numbers]
        for split, numbers in split_of(asked).items()
    }
    return asked, scenes


def chosen_rows(asked, scenes):
    chosen = {
        split: choose(
            {s.video_id: list(ask(Facts(s), asked.instruments)) for s in group},
            np.random.default_rng(0),
            asked.questions,
        )
        for split, group in scenes.items()
    }
    return annotation_rows(chosen)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    seconds=st.sampled_from([2, 3, 5, 10, 60]),
    instruments=st.sampled_from(["4", "8", "22"]),
)
def test_every_answer_follows_from_the_truth(seed, seconds, instruments):
    asked, scenes = benchmark(5, seconds, instruments, seed)
    facts = truth(asked, scenes)["videos"]
    everything = {
        split: {s.video_id: list(ask(Facts(s), asked.instruments)) for s in group}
        for split, group in scenes.items()
    }

    for rows in annotation_rows(everything).values():
        for row in rows:
            assert Witness(facts[row["video_id"]]).answer(filled(row)) == row["anser"], row


@pytest.fixture(scope="module")
def two_hundred():
    asked, scenes = benchmark(200, 10, "8", 0)
    return asked, scenes, chosen_rows(asked, scenes)


def test_all_types_and_templates_are_asked(two_hundred):
    rows = [row for split in two_hundred[2].values() for row in split]
    assert len(rows) == 2000
    assert Counter(len(split) for split in two_hundred[2].values()) == {1200: 1, 400: 2}
    types = Counter(tuple(ast.literal_eval(row["type"])) for row in rows)
    assert set(types) == set(NAMES.values())
    assert max(types.values()) < 1.1 * min(types.values())
    assert {row["question_content"] for row in rows} == {text for _, text, _ in TEMPLATES}
    assert len(TEMPLATES) == 33


def test_rows_have_the_fields_and_the_quirks_of_the_original(two_hundred):
    rows = [row for split in two_hundred[2].values() for row in split]
    assert [row["question_id"] for row in rows] == list(range(2000))
    for row in rows:
        assert list(row) == [
            *("video_id", "question_id", "type", "question_content", "templ_values"),
            *("question_deleted", "anser"),
        ]
        assert row["question_deleted"] == 0
        assert row["anser"] in ANSWERS
        assert row["video_id"].isdecimal()
        assert len(row["video_id"]) == 8
        assert all(MUSIC_AVQA.is_known(word) for word in filled(row).split())
    assert rows[0]["type"].startswith('["')
    assert '"[]"' not in rows[0]["type"]
    assert {row["templ_values"] for row in rows} >= {"[]", '["first"]', '["loudest"]'}


def test_splits_share_no_video(two_hundred):
    videos = [{row["video_id"] for row in split} for split in two_hundred[2].values()]
    assert [len(v) for v in videos] == [120, 40, 40]
    assert len(set.union(*videos)) == 200


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_no_answer_runs_ahead_within_its_template(two_hundred, split):
    counts = defaultdict(Counter)
    for row in two_hundred[2][split]:
        counts[row["question_content"]][row["anser"]] += 1
    for template, answers in counts.items():
        mean = answers.total() / len(answers)
        assert max(answers.values()) <= 1.15 * mean + 2, (template, answers)


def test_no_question_is_asked_twice_of_a_video(two_hundred):
    for rows in two_hundred[2].values():
        asked = Counter(
            (
                r["video_id"],
                r["question_content"],
                tuple(sorted(ast.literal_eval(r["templ_values"]))),
            )
            for r in rows
        )
        assert max(asked.values()) == 1


def test_more_questions_of_a_video():
    """All types still, and within a template the answers as even; counting has most to ask."""
    asked, scenes = benchmark(50, 10, "8", 0)
    rows = chosen_rows(replace(asked, questions=30), scenes)["train"]
    assert 0.9 * 30 * 30 < len(rows) <= 30 * 30
    assert max(Counter(row["video_id"] for row in rows).values()) <= 42
    types = Counter(tuple(ast.literal_eval(row["type"])) for row in rows)
    assert set(types) == set(NAMES.values())
    assert min(types.values()) >= 45
    counts = defaultdict(Counter)
    for row in rows:
        counts[row["question_content"]][row["anser"]] += 1
    for answers in counts.values():
        assert max(answers.values()) <= 1.15 * answers.total() / len(answers) + 2
    keys = [(r["video_id"], r["question_content"], r["templ_values"]) for r in rows]
    assert len(set(keys)) == len(keys)


def test_comparisons_in_both_orders(two_hundred):
    asked, scenes, rows = two_hundred
    both = rows_of(replace(asked, both_orders=True), scenes)["test"]
    facts, pairs = truth(asked, scenes)["videos"], 0
    for row, following in zip(both, [*both[1:], None], strict=True):
        values = ast.literal_eval(row["templ_values"])
        if ast.literal_eval(row["type"])[1] != "Comparative":
            continue
        assert Witness(facts[row["video_id"]]).answer(filled(row)) == row["anser"]
        half = len(values) // 2
        if following and following["question_content"] == row["question_content"]:
            swapped = values[half:] + values[:half]
            if ast.literal_eval(following["templ_values"]) == swapped:
                assert {row["anser"], following["anser"]} == {"yes", "no"}
                pairs += 1
    comparisons = [r for r in both if ast.literal_eval(r["type"])[1] == "Comparative"]
    assert 2 * pairs == len(comparisons) > 100
    others = [r for r in both if r not in comparisons]
    alone = rows_of(asked, scenes)["test"]
    assert len(others) == sum(ast.literal_eval(r["type"])[1] != "Comparative" for r in alone)


def test_ensembles_vary_as_promised(two_hundred):
    scenes = [scene for group in two_hundred[1].values() for scene in group]
    visible = [[p for p in s.players if p.place] for s in scenes]
    assert set(map(len, visible)) == {1, 2, 3, 4}
    assert any(p.place and not p.sounds for s in scenes for p in s.players)
    assert any(not p.place and p.sounds for s in scenes for p in s.players)
    assert {s.background for s in scenes} == {"indoor", "outdoor"}
    assert {s.num_distractors for s in scenes} == {0, 1, 2}
    for player in (p for group in visible for p in group):
        left, top, right, bottom = player.box
        assert 0.3 < bottom - top < 0.36
        assert PLACES[int((left + right) / 2 * 3)] == player.place
        assert top >= 0
        assert bottom <= 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), seconds=st.integers(2, 300), number=st.integers(1, 500))
def test_sounds_lie_within_the_clip_in_order(seed, seconds, number):
    scene = compose(check_settings(500, seconds, "8", seed), number)
    for player in scene.players:
        edges = [edge for interval in player.sounds for edge in interval]
        assert edges == sorted(set(edges))
        assert not edges or (edges[0] >= 0 and edges[-1] <= seconds)
        heard = [second for second in range(seconds) if is_sounding(player, second + 0.5)]
        assert len(heard) == player.sounding_seconds


def test_a_score_depends_on_seed_and_number_alone():
    one, more = check_settings(10, 10, "8", 3), check_settings(90, 10, "8", 3)
    assert [compose(one, n) for n in range(1, 6)] == [compose(more, n) for n in range(1, 6)]
    assert compose(one, 1) != compose(one, 2)
    assert compose(one, 1) != compose(check_settings(10, 10, "8", 4), 1)


@pytest.mark.parametrize("count", [4, 8, 22])
def test_every_instrument_has_a_band_and_a_look_of_its_own(count):
    names = tuple(INSTRUMENTS)[:count]
    bands = sorted(registers(names).values())
    assert len(bands) == count + 1
    assert bands[0][0] >= 125
    assert bands[-1][1] <= 7500
    assert all(low < high for low, high in bands)
    assert all(one[1] < other[0] for one, other in zip(bands, bands[1:], strict=False))
    assert len({INSTRUMENTS[name].colour for name in names}) == count
    assert len({INSTRUMENTS[name].shapes for name in names}) == count


def test_instruments_are_the_fields_own():
    assert set(INSTRUMENTS) == set(FIELD_INSTRUMENTS)
    assert sorted(i.pitch_rank for i in INSTRUMENTS.values()) == list(range(22))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, 10, "8", 0), "videos=2; expected 3 to 99999999: train, val and test each need"),
        ((9, 1, "8", 0), "seconds=1; expected 2 to 300; check --seconds"),
        ((9, 301, "8", 0), "seconds=301; expected 2 to 300; check --seconds"),
        ((9, 10, "3", 0), "instruments=3; expected 4 to 22 instruments, each once; give a number"),
        ((9, 10, "23", 0), "instruments=23; expected 4 to 22 instruments"),
        ((9, 10, "piano,piano,tuba,flute", 0), "expected 4 to 22 instruments, each once"),
        ((9, 10, "8", 0, 0), "questions=0; expected 1 to 60 a video; check --questions"),
        ((9, 10, "8", 0, 61), "questions=61; expected 1 to 60 a video"),
        ((9, 10, "8", -1), "seed=-1; expected 0 to 2^63 - 1; check --seed"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message.replace("^", r"\^")):
        check_settings(*arguments)


def test_an_unknown_instrument_is_named():
    with pytest.raises(UnknownName, match="no instrument 'violine'; did you mean 'violin'?"):
        check_settings(9, 10, "violine,piano,tuba,flute", 0)


def test_instruments_by_name():
    assert check_settings(9, 10, "tuba, erhu,flute,pipa", 0).instruments == (
        *("tuba", "erhu", "flute", "pipa"),
    )
