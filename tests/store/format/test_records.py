"""Records and recipes: JSON forms, hashes, differences."""

import hashlib
import json
import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.errors import RecipeMismatch
from avqa.store.format.ledger import _SOURCE, Ledger, newest_only
from avqa.store.format.recipe_diff import (
    Difference,
    canonical_json,
    diff_features,
    diff_recipes,
    diff_recorded,
    recipe_hash,
    require_same,
)
from avqa.store.format.records import (
    ChunkRecord,
    FeatureRecord,
    Fingerprint,
    Status,
    VideoRecord,
    video_from,
)

# What os.fsdecode makes of any bytes, lone surrogates included.
names = st.one_of(
    st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    st.text(max_size=12),
    st.just('a"row":9,"relpath":"b","fingerprint":{"size":1}\\'),
)
seconds = st.floats(-1e6, 1e6)
chunks = st.builds(ChunkRecord, st.integers(0, 2**40), st.integers(0, 2**32 - 1))
features = st.builds(
    FeatureRecord,
    names,
    st.sampled_from(Status),
    st.integers(0, 10**6),
    st.lists(chunks, max_size=3).map(tuple),
    names,
    names,
    names,
)
records = st.builds(
    VideoRecord,
    video_id=names,
    row=st.integers(0, 10**7),
    relpath=names,
    fingerprint=st.builds(
        Fingerprint, st.integers(0, 2**60), st.integers(-(2**60), 2**63 - 1), st.just("0af9")
    ),
    duration=seconds,
    pts=st.lists(seconds, max_size=4).map(tuple),
    audio_start=st.none() | seconds,
    audio_end=st.none() | seconds,
    row_flags=st.integers(0, 255),
    features=st.lists(features, max_size=3).map(tuple),
    report=st.dictionaries(names, st.integers() | names, max_size=2),
    timings=st.dictionaries(names, seconds, max_size=2),
)


@given(records)
def test_json_round_trip(record):
    line = record.to_json()
    assert line.isascii()
    assert "\n" not in line
    again = video_from(json.loads(line))
    assert again == record
    assert [type(f.status) for f in again.features] == [Status] * len(record.features)


def plain_record(**values):
    return VideoRecord(
        video_id="a",
        row=4,
        relpath="a.mp4",
        fingerprint=Fingerprint(1, 2, "f"),
        **{"duration": 1.5, "pts": (), "audio_start": None, "audio_end": None} | values,
        row_flags=0,
        features=(),
    )


def test_an_unknown_duration_is_null(tmp_path):
    record = plain_record(duration=math.nan, report={"declared_seconds": math.inf})
    line = record.to_json()
    assert json.loads(line, parse_constant=pytest.fail)["duration"] is None
    assert math.isnan(video_from(json.loads(line)).duration)
    old = line.replace('"duration":null', '"duration":NaN')
    assert old != line
    assert math.isnan(video_from(json.loads(old)).duration)
    ledger = Ledger(tmp_path)
    ledger.append("run", [record])
    assert _SOURCE.search(line.encode())
    assert ledger.fingerprints() == {4: record.fingerprint}


def test_unknown_keys_of_later_versions_are_dropped():
    plain = {
        "video_id": "a",
        "row": 1,
        "relpath": "a.mp4",
        "fingerprint": {"size": 1, "mtime_ns": 2, "quick_hash": "f"},
        "duration": 1.5,
        "pts": [0.5],
        "audio_start": None,
        "audio_end": None,
        "row_flags": 0,
        "features": [],
        "colour": "blue",
        "width": 640,
    }
    assert video_from(plain).pts == (0.5,)


@settings(deadline=None)
@given(st.lists(records, min_size=1, max_size=5))
def test_ledger_fingerprints_equal_those_of_whole_records(tmp_path_factory, made):
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    ledger.append("run", made[:3])
    ledger.append("run", made[3:])
    files = ledger.fingerprints()
    assert files == {r.row: r.fingerprint for r in made}
    assert {row: files.relpath(row) for row in files} == {r.row: r.relpath for r in made}
    assert [r for s in ledger.segments() for r in s.records()] == made


few = st.builds(FeatureRecord, st.sampled_from("xyz"), st.sampled_from(Status), st.just(1))
attempts = st.builds(
    VideoRecord,
    video_id=names.filter(bool),
    row=st.integers(0, 3) | st.integers(0, 400),
    relpath=st.just("a"),
    fingerprint=st.just(Fingerprint(1, 2, "0")),
    duration=seconds,
    pts=st.just(()),
    audio_start=st.none(),
    audio_end=st.none(),
    row_flags=st.just(0),
    features=st.lists(few, max_size=3, unique_by=lambda of: of.feature).map(tuple),
)


@settings(deadline=None)
@given(st.lists(st.tuples(attempts, st.sampled_from(["good", "good", "bad", "odd"])), max_size=12))
def test_the_newest_record_of_a_feature_counts(tmp_path_factory, made):
    """Bad lines do not, whatever row they name; odd ones, by another program, do."""
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for start in range(0, len(made), 4):
        number = ledger.append("run", [record for record, _ in made[start : start + 4]])
        (segment,) = ledger.segments(number - 1)
        lines = segment.lines()
        for place, (record, kind) in enumerate(made[start : start + 4]):
            if kind == "bad":
                lines[place] = lines[place].replace(b'"duration":', b'"dur":')
            elif kind == "odd":
                lines[place] = json.dumps(json.loads(record.to_json())).encode()
        segment.path.write(b"\n".join(lines) + b"\n")
    seen, expected = set(), []
    for record in reversed([record for record, kind in made if kind != "bad"]):
        left = tuple(of for of in record.features if (record.row, of.feature) not in seen)
        seen |= {(record.row, of.feature) for of in left}
        if left:
            expected.insert(0, replace(record, features=left))
    assert list(newest_only(ledger.segments())) == expected


keys = st.text('."a', max_size=3) | st.text()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
recipes = st.dictionaries(keys, values, max_size=4)


@given(recipes, st.randoms())
def test_hash_ignores_the_order_of_keys(recipe, random):
    items = list(recipe.items())
    random.shuffle(items)
    assert recipe_hash(dict(items)) == recipe_hash(recipe)
    assert diff_recipes(recipe, dict(items)) == []


@given(recipes, recipes)
def test_hashes_differ_exactly_when_something_is_listed(left, right):
    assert (recipe_hash(left) == recipe_hash(right)) == (diff_recipes(left, right) == [])


def test_canonical_json_is_this_text():
    recipe = {"b": [1, 2.5, None], "a": {"ü": True}}
    text = '{"a":{"\\u00fc":true},"b":[1,2.5,null]}'
    assert canonical_json(recipe) == text
    assert recipe_hash(recipe) == hashlib.sha256(text.encode()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": float("nan")})


def test_diff_names_all_dotted_keys_with_both_values():
    stored = {"grid": {"frame_at": "mid", "hop": 1}, "decoder": "pyav", "old": 1}
    asked = {"grid": {"frame_at": "start", "hop": 1.0}, "decoder": "pyav", "new": [2]}
    assert [one.line(("store", "asked")) for one in diff_recipes(stored, asked)] == [
        'grid.frame_at: store="mid" asked="start"',
        "grid.hop: store=1 asked=1.0",
        "new: store=(none) asked=[2]",
        "old: store=1 asked=(none)",
    ]


def test_features_that_are_new_are_compared_by_shared_keys_only():
    stored = {"a": {"grid": 1, "net": "a"}}
    assert diff_features(stored, {"b": {"grid": 1, "net": "b"}}, ("grid",)) == []
    asked = {"a": {"grid": 2, "net": "a"}, "b": {"grid": 2}}
    assert diff_features(stored, asked, ("grid",)) == [Difference("grid", ("1", "2"), ("a", "b"))]


def test_every_refusal_has_these_words():
    differing = diff_recipes({"grid": 1, "net": "a"}, {"grid": 2, "net": "b"})
    with pytest.raises(RecipeMismatch) as refused:
        require_same("run 'R'", differing, "make them anew", sides=("run", "here"))
    assert str(refused.value) == (
        'run \'R\': another recipe: grid: run=1 here=2; net: run="a" here="b"; expected the same;'
        " make them anew"
    )
    assert refused.value.keys == ("grid", "net")
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.keys) == (str(refused.value), ("grid", "net"))
    require_same("run 'R'", [])


def test_of_what_was_recorded_a_hash_alone_is_told_as_such():
    whole = {"recipe_hash": "aa" * 32, "recipe": {"net": 1}}
    other = {"recipe_hash": "bb" * 32, "recipe": {"net": 2}}
    hash_only = {"recipe_hash": "aa" * 32}
    assert diff_recorded({"f": whole}, {"f": other}) == [Difference("net", ("1", "2"), ("f",))]
    assert diff_recorded({"f": hash_only}, {"f": whole}) == []
    (told,) = diff_recorded({"f": hash_only}, {"f": other, "g": other})
    assert told.line(("run", "store")) == (
        "recipe_hash (all that was recorded): run=aaaaaaaaaaaa store=bbbbbbbbbbbb (f)"
    )
