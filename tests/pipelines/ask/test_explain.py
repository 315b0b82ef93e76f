"""What `avqa ask --explain` draws and writes: places, seconds and numbers, not only files."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.media import clips
from helpers.runs.answered import EVIDENCE, PATCHES, answer, clip, hot
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avqa.errors import ConfigError
from avqa.extract import encoders
from avqa.extract.encoders._parts import images
from avqa.extract.media.types import Limits
from avqa.extract.settings import Settings
from avqa.pipelines.ask import explain, plots
from avqa.pipelines.ask.features import VideoRecipe
from avqa.pipelines.ask.heat import draw_heat, grid_box, strongest_of
from avqa.pipelines.extraction.frames import write_frames

GREY = Image.new("RGB", (640, 360), (128, 128, 128))


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (333, 222), (50, 50)])
def test_the_box_of_a_centre_crop_is_what_the_encoder_sees(width, height):
    ramp = np.linspace(0, 255, max(width, height))
    across = np.broadcast_to(ramp[:width], (height, width))
    down = np.broadcast_to(ramp[:height, None], (height, width))
    picture = np.stack([across, down, down], -1).round().astype(np.uint8)
    seen = images.center(picture, 224, 224, "bicubic")
    box = grid_box("center", width, height)
    left, right = (np.interp(x, np.arange(len(ramp)), ramp) for x in (box.left, box.right - 1))
    top, bottom = (np.interp(y, np.arange(len(ramp)), ramp) for y in (box.top, box.bottom - 1))
    corners = [seen[0, 0, 0], seen[0, -1, 0], seen[0, 0, 1], seen[-1, 0, 1]]
    assert np.abs(np.array([left, right, top, bottom]) - corners).max() < 4


def test_boxes_of_other_crops():
    assert grid_box("squash", 640, 360) == (0, 0, 640, 360)
    assert grid_box("pad", 640, 360) == (0, -140, 640, 500)
    assert grid_box("center", 640, 360) == (140, 0, 500, 360)
    assert grid_box("center 192 of 256", 640, 360) == (185, 45, 455, 315)


@pytest.mark.parametrize(
    ("encoder", "options", "crop"),
    [
        ("vit_l16_384", {"crop": "center"}, "center 384 of 438"),
        ("vit_l16_384", {"crop": "squash"}, "squash"),
        ("swin_v2_l_192", {"crop": "center"}, "center 192 of 213"),
        ("clip_vit_b32", {"crop": "center"}, "center"),
    ],
)
def test_the_recipe_tells_which_square_the_patches_divide(encoder, options, crop):
    feature = f"{encoder}/patch"
    tap = next(iter(encoders.load(encoder).TAPS))
    recipe = {"encoder": {**encoders.load(encoder).recipe(tap), **options}}
    found = VideoRecipe({"patch": feature}, {feature: recipe}, Settings())
    assert found.crop == crop
    assert grid_box(crop, 512, 512).left >= 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 48), st.sampled_from(["center", "squash", "pad"]))
def test_the_reddest_place_is_the_strongest_patch(place, crop):
    weights = hot(place)
    drawn = np.asarray(draw_heat(GREY, weights, crop, strongest_of(weights))).astype(int)
    box = grid_box(crop, 640, 360)
    x = box.left + (place % 7 + 0.5) * (box.right - box.left) / 7
    y = box.top + (place // 7 + 0.5) * (box.bottom - box.top) / 7
    if not 0 < y < 360:  # a patch of the black bars
        return
    red = drawn[..., 0] - drawn[..., 2]
    red[:, [int(box.left), int(box.left) + 1]] = 0  # the frame's edge is no heat
    found_y, found_x = np.unravel_index(red.argmax(), red.shape)
    assert abs(found_x - x) <= (box.right - box.left) / 14
    assert abs(found_y - y) <= (box.bottom - box.top) / 14


def test_even_weights_tint_nothing():
    drawn = np.asarray(draw_heat(GREY, np.full(196, 1 / 196), "squash", 1.0))
    assert (drawn == 128).all()
    nearly = np.full(49, 1 / 49)
    nearly[24] *= 1.1
    faint = np.asarray(draw_heat(GREY, nearly, "squash", 1.1)).astype(int)
    strong = np.asarray(draw_heat(GREY, hot(24), "squash", 0.9 * 49)).astype(int)
    assert np.ptp(faint, axis=2).max() < 0.2 * np.ptp(strong, axis=2).max()


def test_what_no_patch_saw_is_darker():
    drawn = np.asarray(draw_heat(GREY, np.full(49, 1 / 49), "center", 1.0))
    assert (drawn[180, 60] < 70).all()
    assert (drawn[180, 600] < 70).all()
    assert (drawn[180, 320] == 128).all()
    assert (np.asarray(draw_heat(GREY, None, "center", 1.0)) == 128).all()


@pytest.mark.parametrize("size", [(160, 96), (2000, 100), (96, 160)])
def test_drawn_pictures_have_one_size(size):
    drawn = draw_heat(Image.new("RGB", size), hot(0), "center", 2.0)
    assert max(drawn.size) == 640
    assert drawn.width / drawn.height == pytest.approx(size[0] / size[1], rel=0.05)


@pytest.mark.parametrize(
    ("weights", "rows"),
    [
        ([0.1, 0.3, 0.05, 0.25, 0.2, 0.1], [0, 1, 3, 4]),  # the earlier of two equals
        ([0.0, 1.0, 0.0], [1]),
        ([0.5, 0.5], [0, 1]),
    ],
)
def test_rows_of_most_weight_are_shown(weights, rows):
    assert explain.chosen_rows(np.array(weights), len(weights)) == rows


@pytest.mark.parametrize(("count", "rows"), [(1, [0]), (3, [0, 1, 2]), (10, [0, 3, 6, 9])])
def test_without_weights_rows_are_spread(count, rows):
    assert explain.chosen_rows(None, count) == rows


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The clip's frames, and the report on them."""
    folder = tmp_path_factory.mktemp("frames") / "all"
    return folder, write_frames(clip(), folder, Settings(), Limits())


@pytest.fixture
def quick_frames(written, monkeypatch):
    """The same frames without decoding them again."""
    folder, report = written

    def copied(video, out, settings, limits, max_rows):
        assert (video, max_rows) == (clip(), 60)
        shutil.copytree(folder, out)
        return dataclasses.replace(report, folder=out)

    monkeypatch.setattr(explain, "write_frames", copied)


def test_an_explanation_is_complete(tmp_path):
    (tmp_path / "out" / ".frames-of-a-killed-run" / "all").mkdir(parents=True)
    asked = answer(tmp_path, EVIDENCE)
    files = explain.explain(asked, tmp_path / "out")
    names = [str(file.relative_to(tmp_path / "out")) for file in files]
    assert names == [
        "explanation.png",
        "explanation.html",
        "explanation.json",
        "time.png",
        *(f"frames/second-000{k}.png" for k in (0, 1, 3)),
    ]
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert found == set(names)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*names[:4], "frames"}
    for name in ("explanation.png", "time.png"):
        picture = Image.open(tmp_path / "out" / name)
        assert picture.width > 900
        assert len(set(picture.convert("RGB").resize((99, 99)).get_flattened_data())) > 50
    numbers = json.loads((tmp_path / "out" / "explanation.json").read_text(encoding="utf-8"))
    assert numbers["question"] == "Is there a violin sound"
    assert numbers["answers"] == [
        {"answer": "two", "probability": 0.7},
        {"answer": "one", "probability": 0.3},
    ]
    assert numbers["modality"] == {"pictures": 0.5, "sound": 0.5}
    assert numbers["words"] == [{"word": "Is", "weight": 0.25}, {"word": "there", "weight": 0.75}]
    assert numbers["shown_seconds"] == [0, 1, 3]
    assert numbers["pictures"] == names[4:]
    grid = {"left": 32.0, "top": 0.0, "right": 128.0, "bottom": 96.0}
    assert numbers["patch_grid"] == {"patches": 49, "order": "row by row", **grid}
    assert [row["second"] for row in numbers["rows"]] == [0, 1, 2, 3]
    assert [row["pts_seconds"] for row in numbers["rows"]] == [0.5, 1.5, 2.5, 3.5]
    assert numbers["rows"][1]["patches"] == PATCHES[1].tolist()
    for key, field in (
        ("weight", "seconds"),
        ("sound", "audio_time"),
        ("pictures", "frame_time"),
    ):
        assert [row[key] for row in numbers["rows"]] == EVIDENCE[field].tolist()


@pytest.mark.usefixtures("quick_frames")
def test_pictures_are_those_of_the_rows(tmp_path):
    """Rows of every second second, without patches: pictures carry their own number."""
    evidence = {"seconds": np.array([0.1, 0.9])}
    asked = answer(tmp_path, evidence, stride=2, num_rows=2, crop=None)
    explain.explain(asked, tmp_path)
    numbers = json.loads((tmp_path / "explanation.json").read_text(encoding="utf-8"))
    assert numbers["shown_seconds"] == [0, 2]
    assert [row["pts_seconds"] for row in numbers["rows"]] == [0.5, 2.5]
    assert numbers["patch_grid"] is None
    for second in (0, 2):
        picture = Image.open(tmp_path / "frames" / f"second-000{second}.png")
        assert clips.read_number(np.asarray(picture)) == 8 * second + 4


@pytest.mark.usefixtures("quick_frames")
def test_a_head_that_tells_nothing_is_shown_all_the_same(tmp_path):
    (tmp_path / "out" / "frames").mkdir(parents=True)
    names = ("second-0009.png", "mine.png", "second-0008.png")
    old, *others = (tmp_path / "out" / "frames" / name for name in names)
    for file in (old, *others):
        file.touch()
    named = [f"frames/{old.name}", "frames/mine.png", "../run.json"]
    (tmp_path / "out" / "explanation.json").write_text(
        json.dumps({"pictures": named}), encoding="utf-8"
    )
    (tmp_path / "run.json").touch()
    explain.explain(answer(tmp_path, {}, num_rows=None), tmp_path / "out")
    assert not old.exists()  # it was named, by what only our files are called
    assert all(file.exists() for file in (*others, tmp_path / "run.json"))
    numbers = json.loads((tmp_path / "out" / "explanation.json").read_text(encoding="utf-8"))
    assert numbers["shown_seconds"] == [0, 1, 2, 3]
    assert numbers["rows"][0] == {
        "second": 0,
        "pts_seconds": 0.5,
        "weight": None,
        "sound": None,
        "pictures": None,
        "patches": None,
    }
    assert numbers["modality"] is None
    assert numbers["words"] == []


def axes_of(page, monkeypatch):
    """The axes of a page by their titles."""
    figures = []
    monkeypatch.setattr(plots, "_png", lambda figure: figures.append(figure) or b"")
    plots.draw_page(page)
    return figures[0], {axes.get_title("left").partition(" (")[0]: axes for axes in figures[0].axes}


VIEW = plots.TimeView((0,), 1.0, {"attention": np.ones(1)}, (0,), None)
ANSWERS = [(f"a{n}", 0.5 if n == 0 else 0.05) for n in range(11)]


def page(**options):
    return plots.Page("Who?", "head", ANSWERS, VIEW, [("c", GREY)], "foot", **options)


def test_probabilities_stand_on_an_axis_to_a_hundred(monkeypatch):
    figure, axes = axes_of(page(), monkeypatch)
    assert axes["answers"].get_xlim() == (0, 100)
    assert [bar.get_width() for bar in axes["answers"].patches] == [50.0, *[5.0] * 7]
    (guess,) = axes["answers"].lines
    assert list(guess.get_xdata()) == pytest.approx([100 / 11] * 2)
    assert "guessing, 9.1 %" in axes["answers"].get_xlabel()
    assert not any(plots.RANDOM_MARK in text.get_text() for text in figure.findobj(plots_text))
    assert len(figure.axes) == 5  # no words, no shares


def plots_text(artist):
    return hasattr(artist, "get_text")


def test_the_right_answer_is_drawn_however_improbable(monkeypatch):
    _, axes = axes_of(page(right="a10"), monkeypatch)
    drawn = axes["answers"]
    assert [label.get_text() for label in drawn.get_yticklabels()][-2:] == ["a6", "a10"]
    assert drawn.texts[-1].get_text() == "5.0 %, right"
    _, axes = axes_of(page(right="kazoo"), monkeypatch)
    assert any(name.startswith("answers; right: kazoo, none of") for name in axes)
    _, axes = axes_of(page(right="a0"), monkeypatch)
    assert axes["answers"].texts[0].get_text() == "50.0 %, right"


def test_words_and_shares_are_drawn_where_they_are_known(monkeypatch):
    shown = page(words=[("Who", 0.75), ("sings", 0.25)], modality=(0.4, 0.6), random_weights=True)
    figure, axes = axes_of(shown, monkeypatch)
    words = axes["weight of each word"]
    assert [bar.get_height() for bar in words.patches] == [75, 25]
    assert [label.get_text() for label in words.get_xticklabels()] == ["Who", "sings"]
    shares = axes["shares"]
    assert [(bar.get_x(), bar.get_width()) for bar in shares.patches] == [(0, 40), (40, 60)]
    assert any(plots.RANDOM_MARK in text.get_text() for text in figure.findobj(plots_text))


@pytest.mark.usefixtures("quick_frames")
def test_random_weights_are_marked_on_every_picture(tmp_path, monkeypatch):
    asked = answer(tmp_path, EVIDENCE)
    config = dataclasses.replace(asked.member.config, weights="random:0")
    asked = dataclasses.replace(asked, member=dataclasses.replace(asked.member, config=config))
    figures = []
    png = plots._png
    monkeypatch.setattr(plots, "_png", lambda figure: figures.append(figure) or png(figure))
    files = explain.explain(asked, tmp_path / "out")
    for figure in figures:
        assert any(plots.RANDOM_MARK in text.get_text() for text in figure.findobj(plots_text))
    assert len(figures) == 2
    assert plots.RANDOM_MARK in files[1].read_text(encoding="utf-8")
    for file in files[4:]:
        with Image.open(file) as picture:
            assert picture.getpixel((2, 2)) == (0xB3, 0x26, 0x1E)
    numbers = json.loads((tmp_path / "out" / "explanation.json").read_text(encoding="utf-8"))
    assert numbers["random_weights"] is True


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="out' is a file; expected a folder; choose another"):
        explain.prepare_folder(tmp_path / "out")


def test_long_and_foreign_questions_are_drawn(tmp_path):
    view = plots.TimeView((0,), 1.0, {"attention": np.ones(1)}, (0,), None)
    words = "$x_1$ \N{CJK UNIFIED IDEOGRAPH-4E50} \\frac " * 40
    page = plots.Page(words, "a $ b", [(words, 1.0)], view, [("c", GREY)], "d $ e")
    assert plots.draw_page(page).startswith(b"\x89PNG")


def test_the_spectrum_shows_the_tone(tmp_path):
    from avqa.extract.media.audio.frame_clock import write_wav

    rate = 16_000
    tone = np.sin(2 * np.pi * 2000 * np.arange(rate) / rate).astype(np.float32)
    soft = 0.05 * tone
    write_wav(str(tmp_path / "a.wav"), iter([0.5 * tone, soft, np.zeros(rate, np.float32)]))
    found = plots.spectrum_of(Path(tmp_path / "a.wav"))
    assert (found.seconds, found.kilohertz) == (3.0, 8.0)
    third = found.decibels.shape[1] // 3
    loudest = found.decibels[:, : third - 2].mean(1).argmax()
    assert found.decibels[loudest, third + 5] == pytest.approx(-20, abs=0.1)  # a tenth as large
    assert loudest / (len(found.decibels) - 1) * 8 == pytest.approx(2.0, abs=0.05)
    assert found.decibels.max() == 0
    assert found.decibels[:, 2 * third + 3 :].max() == -60
