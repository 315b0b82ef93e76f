"""Two sets of features side by side: the row shift, the cosines, the findings, the verdict."""

import numpy as np
import pytest
from helpers.store.dumps import SPECS, extracted_store, rows_of, write_dump
from hypothesis import given
from hypothesis import strategies as st

from avqa.errors import ConfigError, DifferenceFound
from avqa.pipelines.npy.compare import compare
from avqa.pipelines.npy.compared.match import SHIFTS, Traits, best_shift, cosines, overlap
from avqa.pipelines.npy.dumps import import_npy
from avqa.pipelines.npy.exporting import export_npy

AUDIO = (SPECS["vggish/audio"],)
SAME = "  likely convention of theirs: the same as ours"


def save(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    return path


def two(tmp_path, ours, theirs, folder="vggish"):
    """Compare two files in folders of this name."""
    left = save(tmp_path / "ours" / folder / "a.npy", ours)
    return compare(left, save(tmp_path / "theirs" / folder / "a.npy", theirs))


def likely(report):
    (stream,) = report.streams
    return stream.likely.convention


def audio(rows=60, seed=0):
    return np.maximum(rows_of("vggish", rows, seed), 0)


@given(shift=st.sampled_from(SHIFTS), rows=st.integers(8, 40), seed=st.integers(0, 2**32))
def test_the_shift_that_was_made_is_found(shift, rows, seed):
    rng = np.random.default_rng(seed)
    track = rng.standard_normal((rows + 6, 16))
    ours = track[3 : 3 + rows]
    # Row k of ours is row k + shift of theirs.
    theirs = track[3 - shift : 3 - shift + rows]
    assert best_shift([cosines(ours, theirs)]) == shift
    assert cosines(ours, theirs)[shift].min() == pytest.approx(1)


def test_a_shift_of_rows_that_hardly_differ_is_found():
    track = 10 + rows_of("res18", 30)
    found = cosines(track[1:], track[:-1])
    assert found[0].min() > 0.98
    assert best_shift([found]) == 1


@given(ours=st.integers(1, 9), theirs=st.integers(1, 9), shift=st.sampled_from(SHIFTS))
def test_the_rows_that_meet(ours, theirs, shift):
    mine, yours = overlap(ours, theirs, shift)
    expected = [(k, k + shift) for k in range(ours) if 0 <= k + shift < theirs]
    pairs = list(zip(range(ours)[mine], range(theirs)[yours], strict=True))
    assert pairs == expected


def test_among_equal_shifts_the_smallest_is_taken():
    still = np.ones((20, 4))
    assert best_shift([cosines(still, still)]) == 0


def test_all_videos_decide_the_shift_together():
    """One video whose rows hardly differ does not outvote the others, nor is it outvoted."""
    moving = rows_of("vggish", 20)
    pairs = [cosines(moving[1:], moving[:-1]), cosines(np.ones((5, 4)), np.ones((5, 4)))]
    assert best_shift(pairs) == 1


def test_the_cosine_by_its_definition():
    ours, theirs = rows_of("clip_patch", 3), rows_of("clip_patch", 4, seed=1)
    found = cosines(ours.astype(np.float16), theirs)
    for shift in (-1, 0, 1):
        mine, yours = overlap(3, 4, shift)
        for value, left, right in zip(found[shift], ours[mine], theirs[yours], strict=True):
            left, right = left.ravel().astype(np.float64), right.ravel().astype(np.float64)
            expected = left @ right / np.sqrt((left @ left) * (right @ right))
            assert value == pytest.approx(expected, abs=1e-4)
    assert set(found) == {-1, 0, 1, 2}  # at others less than half of the shorter one meets


def test_zero_rows_are_alike_and_like_nothing_else():
    ours = np.array([[0.0, 0], [0, 0], [1, 0], [1, np.nan]])
    theirs = np.array([[0.0, 0], [1, 0], [0, 0], [1, 0]])
    assert cosines(ours, theirs)[0].tolist() == [1, 0, 0, 0]


def test_a_store_and_its_export_are_equal(tmp_path):
    extracted_store(tmp_path / "store", {"x/a": 5, "x/b": 61})
    export_npy(tmp_path / "store", tmp_path / "out", "pstp")
    report = compare(tmp_path / "store", tmp_path / "out")
    lines = report.lines()
    names = [stream.name for stream in report.streams]
    assert names == [
        "clip_vit_b32/frame",
        "clip_vit_b32/patch",
        "vggish/audio",
    ]
    assert lines[0] == "clip_vit_b32/frame: 2 videos in both"
    assert lines[1].startswith("  ours: 5 to 61 rows, mostly 5, dtype=float16; ")
    assert lines[2].startswith("  theirs: 5 to 61 rows, mostly 5, dtype=float32; ")
    assert lines[3].startswith(
        "  best row shift +0; cosine per row min=1.000000 median=1.000000 max=1.000000 over 66"
        " rows; lowest at video='"
    )
    assert lines[3].endswith("norm theirs/ours=1.0000")
    assert lines[4:6] == [SAME, "  nearest recipe: that of ours"]
    assert lines[-1] == "verdict: equal: 3 streams, every cosine at least 0.999"
    assert "clip_vit_b32/class: only in theirs, not compared" in lines
    report.raise_if_different()


def test_the_class_token_of_tokens_is_compared_with_the_frame_feature(tmp_path):
    extracted_store(tmp_path / "store", {"a": 5})
    export_npy(tmp_path / "store", tmp_path / "out", "avaf")
    report = compare(tmp_path / "store", tmp_path / "out")
    assert [stream.name for stream in report.streams] == [
        "clip_vit_b32/patch",
        "vggish/audio",
        "clip_vit_b32/frame with clip_vit_b32/class",
    ]
    report.raise_if_different()
    one = compare(tmp_path / "store", tmp_path / "out", feature="clip_vit_b32/frame")
    assert [stream.name for stream in one.streams] == ["clip_vit_b32/frame with clip_vit_b32/class"]
    one.raise_if_different()


def test_stores_with_each_other(tmp_path):
    write_dump(tmp_path / "one/vggish", "vggish", {"a": 5, "b": 5})
    write_dump(tmp_path / "two/vggish", "vggish", {"a": 5, "c": 5})
    for name in ("one", "two"):
        import_npy(tmp_path / name, tmp_path / f"{name}_store")
    report = compare(tmp_path / "one_store", tmp_path / "two_store")
    assert report.lines()[0] == ("vggish/audio: 1 videos in both, 1 only in ours, 1 only in theirs")
    report.raise_if_different()


def test_one_wrong_row_is_found_and_named(tmp_path):
    ours = audio()
    theirs = ours.copy()
    theirs[17] = ours[18]
    report = two(tmp_path, ours, theirs)
    (stream,) = report.streams
    assert stream.lowest == "video='file' row=17"
    assert report.lines()[-1] == (
        "verdict: different: vggish/audio: 1 of 60 rows have a cosine below 0.999"
    )
    expected = (
        r"'.*theirs/vggish/a.npy' differs from '.*ours/vggish/a.npy' in vggish/audio; expected"
        " cosines of at least 0.999; see the lines above for the likely convention"
    )
    with pytest.raises(DifferenceFound, match=expected) as found:
        report.raise_if_different()
    assert found.value.exit_code == 6


def test_the_tolerance_decides(tmp_path):
    ours = audio()
    noise = np.random.default_rng(1).standard_normal(ours.shape).astype(np.float32)
    left, right = save(tmp_path / "o.npy", ours), save(tmp_path / "t.npy", ours + 0.05 * noise)
    report = compare(left, right)
    low = float(report.streams[0].cosine.min())
    assert 0.98 < low < 0.999
    assert report.streams[0].name == "rows"
    with pytest.raises(DifferenceFound):
        report.raise_if_different()
    compare(left, right, tolerance=low - 1e-6).raise_if_different()


def test_a_shift_is_a_difference(tmp_path):
    track = audio(61)
    report = two(tmp_path, track[1:], track[:-1])
    assert (report.streams[0].shift, report.streams[0].cosine.min()) == (1, pytest.approx(1))
    assert report.lines()[-1] == "verdict: different: vggish/audio: rows are shifted by +1"
    assert likely(report) == "rows of theirs stand for other seconds than ours of the same number"


def test_a_row_at_a_shift_is_named_by_its_number_in_ours(tmp_path):
    track = rows_of("res18", 62)
    theirs = track[2:].copy()
    theirs[30] = 1
    report = two(tmp_path, track[:60], theirs, "res18")
    assert report.streams[0].shift == -2
    assert report.streams[0].lowest == "video='file' row=32"


def test_scale_is_a_difference_that_no_cosine_sees(tmp_path):
    report = two(tmp_path, audio(), 3 * audio())
    assert report.streams[0].cosine.min() == pytest.approx(1)
    assert report.lines()[-1] == "verdict: different: vggish/audio: theirs are 3 times as long"


def test_normalised_rows(tmp_path):
    rows = rows_of("clip_vit_b32", 60)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    report = two(tmp_path, rows, unit.astype(np.float16), "clip_vit_b32")
    assert likely(report) == "L2-normalised rows"
    assert "rows are L2-normalised" in report.streams[0].theirs.notes()
    assert "rows are L2-normalised" not in report.streams[0].ours.notes()
    assert two(tmp_path, unit, unit, "clip_vit_b32").lines()[-1].startswith("verdict: equal")


def test_rounded_to_8_bits(tmp_path):
    rng = np.random.default_rng(0)
    pca = rng.integers(0, 256, (60, 128)).astype(np.uint8)
    report = two(tmp_path, audio(), pca)
    assert likely(report) == "PCA and rounding to 8 bits, torchvggish's default"
    assert report.streams[0].likely.recipe == "--features vggish/audio_pca8"
    assert "whole numbers from 0 to 255: rounded to 8 bits" in report.streams[0].theirs.notes()


def test_before_the_relu(tmp_path):
    before = rows_of("vggish", 60)
    report = two(tmp_path, np.maximum(before, 0), before)
    assert likely(report).startswith("taken before the last ReLU")
    assert report.streams[0].ours.notes() == ["no negative values: after a ReLU or rounding"]
    assert report.streams[0].theirs.notes() == ["50 % of the values are negative"]


def test_an_example_every_096_seconds(tmp_path):
    report = two(tmp_path, audio(60), audio(62, seed=1))
    assert likely(report) == "one example every 0.96 s instead of every second"
    assert report.streams[0].likely.recipe == "--set vggish.audio_hop=0.96"
    assert "1 videos have other numbers of rows; the first: 'file' 60 and 62" in (
        line.strip() for line in report.lines()
    )


def test_two_rows_more_of_pictures_are_ffmpeg_r1(tmp_path):
    track = rows_of("res18", 62)
    report = two(tmp_path, track[2:], track, "res18")
    assert report.streams[0].shift == 2
    assert likely(report).startswith("frames by `ffmpeg -r 1`: two extra rows")
    assert report.streams[0].reasons == [
        "1 videos have other numbers of rows",
        "rows are shifted by +2",
    ]
    one = two(tmp_path, track[1:61], track[1:], "res18")
    assert one.streams[0].likely.recipe == "--frame-at ffmpeg-r1 or ffmpeg-fps1"


def test_always_60_rows(tmp_path):
    for place in ("ours", "theirs"):
        for seed, rows in enumerate((60, 55, 58)):
            track = rows_of("res18", rows, seed)
            looped = np.concatenate([track, np.repeat(track[-1:], 60 - rows, axis=0)])
            save(tmp_path / place / f"res18/{seed}.npy", track if place == "ours" else looped)
    report = compare(tmp_path / "ours", tmp_path / "theirs")
    assert likely(report) == "always 60 rows, short videos looped"
    assert report.streams[0].likely.recipe.startswith("--frame-at music-avqa")
    assert report.streams[0].reasons == ["2 videos have other numbers of rows"]


def test_every_sixth_second(tmp_path):
    maps = rows_of("res18", 60).reshape(60, 8, 8, 8)
    left, right = save(tmp_path / "o.npy", maps), save(tmp_path / "t.npy", maps[::6])
    report = compare(left, right)
    assert likely(report) == "every 6th second of ours"
    assert report.streams[0].cosine.min() == pytest.approx(1)
    assert report.streams[0].reasons == ["1 videos have other numbers of rows"]


def test_channels_first_against_channels_last(tmp_path):
    maps = rows_of("res18", 60).reshape(60, 8, 8, 8)[:, :, :4, :4]
    left = save(tmp_path / "o.npy", np.moveaxis(maps, 1, -1))
    report = compare(left, save(tmp_path / "t.npy", maps))
    assert "  channels come first in theirs (1 videos)" in report.lines()
    report.raise_if_different()
    back = compare(tmp_path / "t.npy", tmp_path / "o.npy")
    assert "  channels come first in ours (1 videos)" in back.lines()
    back.raise_if_different()


def test_tokens_against_patches(tmp_path):
    tokens = rows_of("clip_patch", 5)
    left, right = save(tmp_path / "o.npy", tokens[:, 1:]), save(tmp_path / "t.npy", tokens)
    report = compare(left, right)
    assert "  theirs holds the class token before the patches (1 videos)" in report.lines()
    report.raise_if_different()


def test_the_broken_patch_script(tmp_path):
    tokens = rows_of("clip_patch", 5)
    broken = np.repeat(tokens[:, :1], 50, axis=1)
    left = write_dump(tmp_path / "ours/clip_patch_vit32", "clip_patch", {"a": 5})
    save(left / "a.npy", tokens)
    save(tmp_path / "theirs/clip_patch_vit32/a.npy", broken)
    report = compare(left, tmp_path / "theirs")
    frame, patch = report.streams
    assert not frame.reasons
    assert patch.likely.convention.startswith("a broken patch script: the class token stands")
    assert patch.theirs.notes()[0] == (
        "all positions of a row are the same vector: the class token repeated"
    )
    assert patch.ours.notes()[0] != patch.theirs.notes()[0]


def test_constant_zero_and_bad_rows_are_told(tmp_path):
    ours = audio()
    theirs = np.repeat(ours[:1], 60, axis=0)
    assert (
        "1 videos repeat one row throughout"
        in two(tmp_path, ours, theirs).streams[0].theirs.notes()
    )
    ours[3] = 0
    ours[4] = np.nan
    report = two(tmp_path, ours, ours)
    assert report.streams[0].ours.notes()[:2] == [
        "1 rows hold NaN or infinity",
        "1 rows are all zeros",
    ]
    assert report.streams[0].reasons == [
        "2 rows hold NaN or infinity",
        "1 of 60 rows have a cosine below 0.999",
    ]


def test_unrelated_numbers(tmp_path):
    report = two(tmp_path, rows_of("res18", 60), rows_of("res18", 60, seed=1), "res18")
    assert likely(report) == "none known: another network, other weights or other videos"
    reasons = report.streams[0].reasons
    assert reasons[0].endswith("rows have a cosine below 0.999")
    assert not any("shifted" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("res18", "other frames of the same seconds, or another resizing"),
        ("vggish", "the same seconds by another resampler or reader"),
    ],
)
def test_nearly_the_same(tmp_path, name, expected):
    ours = np.maximum(rows_of(name, 60), 0)
    noise = np.abs(rows_of(name, 60, seed=1))
    assert likely(two(tmp_path, ours, ours + 0.2 * noise, name)) == expected


def test_rows_of_other_shapes(tmp_path):
    left, right = (
        save(tmp_path / "o.npy", np.ones((5, 3))),
        save(tmp_path / "t.npy", np.ones((5, 4))),
    )
    report = compare(left, right)
    assert report.lines()[-1] == ("verdict: different: rows: 1 videos have rows of other shapes")
    assert "  1 videos have rows of other shapes; the first: (3,) and (4,)" in report.lines()


def test_a_bad_file_in_a_folder_is_a_difference_and_no_crash(tmp_path):
    left = write_dump(tmp_path / "o/vggish", "vggish", {"a": 5, "b": 5})
    right = write_dump(tmp_path / "t/vggish", "vggish", {"a": 5, "b": 5})
    np.save(right / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    report = compare(left, right)
    assert report.lines()[-1] == "verdict: different: vggish/audio: 1 videos cannot be read"
    assert any("video='b' holds pickled objects; expected an array" in x for x in report.lines())


def test_a_file_with_a_store_and_the_kind_of_a_file(tmp_path):
    extracted_store(tmp_path / "store", {"a": 5, "b": 6}, specs=AUDIO)
    export_npy(tmp_path / "store", tmp_path / "out", "pstp", folders=("vggish",))
    (tmp_path / "loose").mkdir()
    loose = tmp_path / "loose/b.npy"
    loose.write_bytes((tmp_path / "out/vggish/b.npy").read_bytes())
    for kind in (None, "vggish"):
        report = compare(tmp_path / "store", loose, kind=kind)
        assert [s.name for s in report.streams] == ["vggish/audio"]
        assert (report.streams[0].videos, report.streams[0].ours_only) == (1, 1)
        report.raise_if_different()


def test_bad_arguments(tmp_path):
    vggish = write_dump(tmp_path / "vggish", "vggish", {"a": 5})
    res18 = write_dump(tmp_path / "res18", "res18", {"b": 5})
    with pytest.raises(ConfigError, match="none' is not there; expected a store, a folder of <vid"):
        compare(vggish, tmp_path / "none")
    expected = "vggish' holds vggish/audio and .*res18' holds resnet18/pool; expected a feature in"
    with pytest.raises(ConfigError, match=expected):
        compare(vggish, res18)
    with pytest.raises(
        ConfigError, match="has no clip_vit_b32/frame; expected one of vggish/audio"
    ):
        compare(vggish, vggish, feature="clip_vit_b32/frame")
    other = write_dump(tmp_path / "t/vggish", "vggish", {"z": 5})
    with pytest.raises(
        ConfigError, match=r"no video is in both sides \(1 and 1 videos\); expected"
    ):
        compare(vggish, other)
    save(tmp_path / "flat.npy", np.ones(7))
    with pytest.raises(
        ConfigError, match=r"flat.npy': shape=\(7,\); expected rows, rank 2 or more"
    ):
        compare(tmp_path / "flat.npy", vggish / "a.npy")
    save(tmp_path / "words.npy", np.array([["a"]]))
    with pytest.raises(ConfigError, match="words.npy': dtype=<U1; expected numbers; check what"):
        compare(tmp_path / "words.npy", vggish / "a.npy")
    with pytest.raises(ConfigError, match="has no published name and holds none that has"):
        compare(tmp_path / "t/vggish/..", write_dump(tmp_path / "odd", "vggish", {"a": 5}))


def test_a_side_of_one_video_has_its_rows_counted():
    traits = Traits()
    for rows in (60, 60, 61):
        traits.add(rows_of("res18", rows))
    assert traits.rows_text() == "60 to 61 rows, mostly 60"
    assert (traits.total, traits.usual) == (181, 60)
    assert not traits.is_bytes
    assert not traits.is_normalised
