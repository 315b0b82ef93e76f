"""The layouts of 2024 to 2026, as typed: out, in and out again; what is refused and passed over."""

import json
from unittest import mock

import numpy as np
import pytest
from helpers.questions import asking
from helpers.questions.question_files import music_row, write
from helpers.store.dumps import extracted_store, feature_rows, file_bytes, write_dump
from numpy.lib import format as npy
from typer.testing import CliRunner

from avqa.cli import app
from avqa.extract.profiles import PROFILES
from avqa.pipelines.npy.kinds import KINDS
from avqa.pipelines.npy.layouts import LAYOUTS, ten_of
from avqa.store.reader import FeatureStore, open_store

NEW = ("tspm", "qa-tiger", "cuespace", "av-master", "mccd")
SIDE = "What is the <LR> instrument of the <FL> sounding instrument?"
SOUND = "Are there <Object> and <Object> sound? "
ROWS = [
    music_row(question_id=1, question_content=SIDE, templ_values='["left", "first"]'),
    music_row(question_id=2, question_content=SOUND, templ_values='["erhu", "pipa"]'),
    music_row(question_id=3, question_content=SOUND, templ_values='["tuba", "pipa"]'),
    music_row(question_id=4, question_content="Where is the performance?", templ_values="[]"),
    music_row(question_id=5, question_content=SOUND, templ_values='["erhu", "pipa"]'),
    music_row(question_id=None, question_content="Is there a voiceover?", templ_values="[]"),
]
SHAPES = {
    "tspm": {
        "vggish": (60, 128),
        "frame_ViT-L14@336px": (60, 768),
        "visual_tome14": (10, 14, 1024),
        "ToMe_feat/audio_tome14": (1, 1),
    },
    "qa-tiger": {
        "vggish": (60, 128),
        "frame_ViT-L14@336px": (60, 768),
        "visual_tome14": (60, 14, 1024),
    },
    "cuespace": {
        "frame_ViT-L14@336px": (60, 768),
        "visual_tome14": (60, 14, 1024),
        "ast/audio_ast_cls": (61, 768),
        "ast/audio_ast_patch_last_pooled": (61, 12, 768),
    },
    "av-master": {"vggish_audio": (60, 128), "clip_vit_l14_336px": (61, 768)},
    "mccd": {"vggish": (60, 128), "r2plus1d_18": (60, 512)},
}
"""Folder → what the file of a video of 61 s has."""


def run(*arguments, code=0):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def out_of(store, layout, out, *more, code=0):
    return run(
        *("export", "npy", "--store", store, "--layout", layout, "--out", out, *more), code=code
    )


def into(store, layout, source, *more, code=0):
    return run(
        *("import", "npy", "--from", source, "--store", store, "--from-layout", layout, *more),
        code=code,
    )


def specs_of(layout):
    return tuple(
        part.spec("float16") for folder in LAYOUTS[layout] for part in KINDS[folder.kind].parts
    )


def rows(folder, name="a"):
    return np.load(folder / f"{name}.npy")


@pytest.mark.parametrize("layout", NEW)
def test_out_in_and_out_again_gives_the_same_bytes(tmp_path, layout):
    extracted_store(tmp_path / "s", {"a": 61}, specs=specs_of(layout))
    out_of(tmp_path / "s", layout, tmp_path / "one")
    for folder, shape in SHAPES[layout].items():
        file = tmp_path / "one" / folder / "a.npy"
        values = np.load(file)
        assert (values.shape, values.dtype.str) == (shape, "<f4"), folder
        with file.open("rb") as opened:
            assert npy.read_magic(opened) == (1, 0)
            assert npy.read_array_header_1_0(opened)[1] is False
        np.save(tmp_path / "again.npy", values)
        assert file.read_bytes() == (tmp_path / "again.npy").read_bytes()
    into(tmp_path / "imported", layout, tmp_path / "one")
    out_of(tmp_path / "imported", layout, tmp_path / "two")
    before = file_bytes(tmp_path / "one")
    assert set(before) == {f"{name}/a.npy" for name in SHAPES[layout]}
    assert file_bytes(tmp_path / "two") == before


def test_the_files_hold_the_rows_that_the_scripts_take(tmp_path):
    specs = (*specs_of("tspm"), *specs_of("cuespace"))
    extracted_store(tmp_path / "s", {"a": 62}, specs=specs)
    stored = {s.name: feature_rows(s, 62, 0).astype("float16").astype("float32") for s in specs}
    for layout, folder, feature, taken in (
        ("tspm", "vggish", "vggish/audio", range(60)),
        ("tspm", "visual_tome14", "vit_l16_384/tome14", (0, 6, 13, 20, 26, 33, 40, 46, 53, 60)),
        ("qa-tiger", "visual_tome14", "vit_l16_384/tome14", range(60)),
        (
            "cuespace",
            "visual_tome14",
            "clip_vit_l14_336/tome14",
            [second for second in range(62) if second not in (15, 46)],
        ),
        ("cuespace", "ast/audio_ast_cls", "ast/class", range(62)),
    ):
        out_of(tmp_path / "s", layout, tmp_path / layout, "--folders", folder)
        written = rows(tmp_path / layout / folder)
        np.testing.assert_array_equal(written, stored[feature][list(taken)])


@pytest.mark.parametrize("name", ["tspm", "qa-tiger", "cuespace", "mccd"])
def test_a_profile_makes_what_its_layout_holds(name):
    made = set(PROFILES[name].features)
    held = {feature for feature in made if not feature.endswith("tome14_source")}  # to draw with
    assert {spec.name for spec in specs_of(name)} == held


@pytest.mark.parametrize(
    ("count", "taken"),
    [
        (60, [0, 6, 12, 19, 25, 32, 38, 45, 51, 58]),
        (61, [0, 6, 13, 19, 26, 32, 39, 45, 52, 59]),
        (10, [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (1, [0] * 10),
    ],
)
def test_of_so_many_frames_tspm_takes_ten(count, taken):
    assert ten_of(count) == taken


def tspm_tree(root, *, released):
    """What TSPM published, prompts with or without the defects of its code, fp16 values."""
    write_dump(root / "vggish", "vggish", {"00000007": 60})
    write_dump(root / "frame_ViT-L14@336px", "clip_vit_l14", {"00000007": 60})
    write_dump(root / "visual_tome14", "vit_l16_tome14", {"00000007": 10})
    lost = 9 if released else None
    seeds = {
        "qst_ViT-L14@336px": {1: 1, 2: 2, 3: 3, 4: 4, 5: 2},
        "qaPrompt_ViT-L14@336px": {1: 5, 2: lost or 6, 3: lost or 7, 4: 8, 5: lost or 6},
    }
    for folder, of_question in seeds.items():
        (root / folder).mkdir()
        for question, seed in of_question.items():
            values = np.random.default_rng(seed).standard_normal((1, 768))
            np.save(root / folder / f"{question}.npy", values.astype("float16").astype("float32"))
    (root / "ToMe_feat" / "audio_tome14").mkdir(parents=True)
    np.save(root / "ToMe_feat" / "audio_tome14" / "00000007.npy", np.zeros((1, 1), "float32"))
    return root


@pytest.mark.parametrize("released", [False, True])
def test_tspm_comes_out_as_it_was_published(tmp_path, released):
    tree = tspm_tree(tmp_path / "feats", released=released)
    asked = ("--dataset", "music-avqa", "--annotations", write(tmp_path / "avqa-test.json", ROWS))
    done = into(tmp_path / "s", "tspm", tree, *asked)
    assert done.stdout.splitlines()[-1] == (
        "qaPrompt_ViT-L14@336px and qst_ViT-L14@336px: 10 files,"
        f" {7 if released else 8} distinct texts: {7 if released else 8} imported, 0 already there"
    )
    reading = "as TSPM's released code made them" if released else "as they are meant"
    assert done.stderr.splitlines()[:3] == [
        "ToMe_feat/audio_tome14: passed over: layout=tspm needs the files to be there, and nothing"
        " reads their numbers",
        f"note: annotations={str(asked[-1])!r}: 1 of 6 questions have no question_id; expected one,"
        " since it names a question's file; they are left out",
        f"qaPrompt_ViT-L14@336px: prompts are read {reading}",
    ]
    store = open_store(tmp_path / "s")
    lost = "There are sounds of instruments other than the erhu or the pipa in the video."
    vector = store.read_text("e" if released else lost, "clip_vit_l14_336/sentence")
    np.testing.assert_array_equal(vector[None], rows(tree / "qaPrompt_ViT-L14@336px", "2"))
    assert "Where is the performance?" in store.texts
    done = out_of(tmp_path / "s", "tspm", tmp_path / "out", *asked)
    assert "qaPrompt_ViT-L14@336px: 5 written, 0 already there" in done.stdout
    assert (
        "ToMe_feat/audio_tome14: 1 written, 0 already there; placeholders, which the layout's"
        " loader opens and nothing reads"
    ) in done.stdout
    assert file_bytes(tmp_path / "out") == file_bytes(tree)
    assert run("verify", tmp_path / "s").stdout.endswith("no problem\n")


def test_a_store_is_compared_with_the_tree_that_it_came_from(tmp_path):
    tree = tspm_tree(tmp_path / "feats", released=True)
    asked = ("--dataset", "music-avqa", "--annotations", write(tmp_path / "avqa-test.json", ROWS))
    into(tmp_path / "s", "tspm", tree, *asked)
    words = ("compare", tmp_path / "s", tree, "--from-layout", "tspm")
    done = run(*words, *asked)
    assert done.stdout.splitlines()[-1] == (
        "verdict: equal: 5 streams, every cosine at least 0.999"
    )
    assert run(*words).stdout.splitlines()[-3:-1] == [
        f"{name}: not compared; files of questions need a store as OURS, --dataset and"
        " --annotations"
        for name in ("qaPrompt_ViT-L14@336px", "qst_ViT-L14@336px")
    ]
    values = np.load(tree / "qst_ViT-L14@336px/1.npy")
    np.save(tree / "qst_ViT-L14@336px/1.npy", -values)
    done = run(*words, *asked, "--json", code=6)
    (stream,) = (s for s in json.loads(done.stdout)["streams"] if s["reasons"])
    assert stream["name"] == "clip_vit_l14_336/sentence of qst_ViT-L14@336px"
    assert stream["notes"][-1].startswith(
        "how theirs were read was not tried: weights clip_vit_l14_336"
    )


def test_ten_rows_say_which_seconds_they_are_and_that_nobody_knows_their_order(tmp_path):
    inner = write_dump(tmp_path / "ToMe_feat" / "tome14", "vit_l16_tome14", {"a": 10})
    into(tmp_path / "s", "tspm", tmp_path)
    store = open_store(tmp_path / "s")
    origin = store.recipe("vit_l16_384/tome14")["imported"]
    assert origin["seconds"] == [0, 6, 12, 19, 25, 32, 38, 45, 51, 58]
    assert (origin["rows"], origin["order"]) == ("tspm-10", "unknown")
    into(tmp_path / "sixty", "qa-tiger", write_dump(
        tmp_path / "q" / "visual_tome14", "vit_l16_tome14", {"a": 60}))  # fmt: skip
    assert "order" not in open_store(tmp_path / "sixty").recipe("vit_l16_384/tome14")["imported"]
    for name in ("s", "sixty"):
        options = ("--folders", "visual_tome14", "--length", 60)  # of the video, not of the file
        out_of(tmp_path / name, "tspm", tmp_path / f"{name}-out", *options)
    assert file_bytes(tmp_path / "s-out/visual_tome14") == file_bytes(inner)
    whole = rows(tmp_path / "q/visual_tome14")
    np.testing.assert_array_equal(rows(tmp_path / "sixty-out/visual_tome14"), whole[ten_of(60)])
    done = out_of(
        *(tmp_path / "s", "qa-tiger", tmp_path / "no", "--folders", "visual_tome14"), code=2
    )
    assert done.stderr.splitlines()[-1] == (
        f"avqa: store {str(tmp_path / 's')!r} has vit_l16_384/tome14 of ten seconds of a video;"
        " expected 60 rows for folder 'visual_tome14' of layout=qa-tiger; they are TSPM's files:"
        " use --layout tspm, or leave the folder out with --folders"
    )
    assert not (tmp_path / "no").exists()


def test_every_folder_that_is_passed_over_is_named(tmp_path):
    for name, kind in (
        ("clip_feats/frame_1fps_ViT-L14@336px", "clip_vit_l14"),
        ("clip_feats/other", "clip_vit_l14"),
        ("clip_vit_b32", "clip_vit_b32"),
        ("ast/audio_ast_cls", "ast_class"),
        ("backup/vggish", "vggish"),
    ):
        write_dump(tmp_path / "feats" / name, kind, {"a": 60})
    for number in range(3):
        (tmp_path / "feats" / "pictures" / str(number)).mkdir(parents=True)
    (tmp_path / "feats" / "mcq_text_clip").mkdir()
    np.savez(tmp_path / "feats" / "mcq_text_clip" / "1.npz", quest_global=np.zeros(768))
    done = into(tmp_path / "s", "tspm", tmp_path / "feats")
    assert done.stderr.splitlines() == [
        "ast: passed over: holds no .npy file",
        "backup: passed over: holds no .npy file",
        "clip_feats/other: passed over: no folder of layout=tspm",
        "clip_vit_b32: passed over: no folder of layout=tspm",
        "mcq_text_clip: passed over: holds .npz files; expected .npy; `avqa questions` makes the"
        " features of texts",
        "pictures: passed over: holds no .npy file",
    ]
    assert open_store(tmp_path / "s").features == ("clip_vit_l14_336/frame",)
    done = run("import", "npy", "--from", tmp_path / "feats", "--store", tmp_path / "t")
    assert done.stderr.splitlines()[1:3] == [
        "backup: passed over: holds no .npy file",
        "clip_feats/other: passed over: no published name; say what its files are with --kind",
    ]
    assert "ast/class" in open_store(tmp_path / "t").features


@pytest.mark.parametrize(
    ("layout", "folder", "kind", "shape", "expected"),
    [
        ("qa-tiger", "visual_tome14", "vit_l16_tome14", (10, 14, 1024), "[60,14,1024]"),
        ("tspm", "visual_tome14", "vit_l16_tome14", (60, 14, 1024), "[10,14,1024]"),
        ("mccd", "r2plus1d_18", "r2plus1d_18", (59, 512), "[60,512]"),
        ("av-master", "clip_vit_l14_336px", "clip_vit_l14", (59, 768), "[60,768] or more rows"),
    ],
)
def test_files_of_another_number_of_rows_are_refused(
    tmp_path, layout, folder, kind, shape, expected
):
    good = {"tspm": 10, "av-master": 61}.get(layout, 60)
    source = tmp_path / "feats"
    path = write_dump(source / folder, kind, {"good": good})
    np.save(path / "bad.npy", np.zeros(shape, "float32"))
    done = into(tmp_path / "s", layout, source, code=3)
    line = (
        f"file {str(path / 'bad.npy')!r}: shape={shape}; expected {expected} in layout={layout};"
        " check --from-layout, or say what the files are with --kind alone"
    )
    assert line in done.stderr.splitlines()
    (path / "good.npy").unlink()
    assert into(tmp_path / "t", layout, source, code=2).stderr == f"avqa: {line}\n"


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((60, 26, 1024), "shape=(60, 26, 1024) rank=3; expected [T,14,1024] rank=3"),
        ((60, 14, 768), "shape=(60, 14, 768) rank=3; expected [T,14,1024] rank=3"),
    ],
)
def test_tokens_of_another_number_or_width_are_refused(tmp_path, shape, told):
    (tmp_path / "visual_tome14").mkdir()
    file = tmp_path / "visual_tome14" / "a.npy"
    np.save(file, np.zeros(shape, "float32"))
    done = into(tmp_path / "s", "qa-tiger", tmp_path, code=2)
    assert done.stderr == f"avqa: file {str(file)!r}: {told}; check the folder or --kind\n"


def test_videos_shorter_than_the_layout_are_left_out_until_padded(tmp_path):
    extracted_store(tmp_path / "s", {"a": 60, "b": 59}, specs=specs_of("mccd"))
    done = out_of(tmp_path / "s", "mccd", tmp_path / "out", code=3)
    assert done.stdout.splitlines()[1] == (
        "vggish: 1 videos left out, shorter than 60 rows, which the layout's files have; the first"
        " is 'b'"
    )
    assert done.stderr.splitlines()[-1] == (
        "avqa: files missing in vggish=1, r2plus1d_18=1: the videos have fewer rows than files of"
        " layout=mccd; expected 60; pad them with --length 60"
    )
    out_of(tmp_path / "s", "mccd", tmp_path / "out", "--length", 60)
    assert rows(tmp_path / "out/vggish", "b").shape == (60, 128)
    assert not rows(tmp_path / "out/vggish", "b")[-1].any()


def test_a_layout_that_nobody_has_is_told_with_the_nearest(tmp_path):
    done = into(tmp_path / "s", "qa-tigre", tmp_path, code=2)
    assert done.stderr.startswith(
        "avqa: no layout 'qa-tigre'; did you mean 'qa-tiger'? available: "
    )
    done = into(tmp_path / "s", "mccd", tmp_path, code=2)
    assert done.stderr == (
        f"avqa: folder {str(tmp_path)!r} holds no folder of layout=mccd; expected vggish,"
        " r2plus1d_18; check --from and --from-layout\n"
    )


class Wide(asking.FakeEncoder):
    """A tower of sentences of 768."""

    def encode(self, tokens, eot):
        words = np.stack([self.words(row) for row in tokens])[:, :2]
        return {"sentence": words.reshape(len(tokens), -1)[:, :768]}


def test_questions_and_prompts_that_were_encoded_are_exported_for_tspm(tmp_path):
    asking.video_store(tmp_path / "s", ids=("00000007",))
    asked = ("--dataset", "music-avqa", "--annotations", write(tmp_path / "avqa-test.json", ROWS))
    sentence = ("--features", "clip_vit_l14_336/sentence", "--weights", "random:0")
    encode = ("questions", "--store", tmp_path / "s", *asked, *sentence, "--device", "cpu")
    export = (tmp_path / "s", "tspm", tmp_path / "out", *asked)
    names = "qst_ViT-L14@336px,qaPrompt_ViT-L14@336px"
    with asking.fakes(), mock.patch("avqa.pipelines.questions.encode.TextEncoder", Wide):
        run(*encode)
        done = out_of(*export, "--folders", names, code=4)
        assert done.stderr.splitlines()[-1].endswith("; prompts: with --prompts")
        done = out_of(*export, "--folders", names.partition(",")[0])
        assert done.stdout.splitlines() == [
            "qst_ViT-L14@336px: 0 written, 5 already there",
            "qst_ViT-L14@336px: questions were tokenised with mark='', published files have"
            " mark='?': the numbers are others; `avqa questions --replace` with --mark makes these",
        ]
        run(*encode, "--mark", "--prompts", "--replace")
    out_of(*export, "--folders", names, "--overwrite")
    written = rows(tmp_path / "out/qaPrompt_ViT-L14@336px", "4")
    assert (written.shape, written.dtype.str) == ((1, 768), "<f4")
    prompt = "There are musical instruments playing in the video."
    expected = FeatureStore(tmp_path / "s").read_text(prompt, "clip_vit_l14_336/sentence")
    np.testing.assert_array_equal(written[0], expected)
    write_dump(tmp_path / "out" / "vggish", "vggish", {"00000007": 60})
    into(tmp_path / "t", "tspm", tmp_path / "out", *asked)
    out_of(tmp_path / "t", "tspm", tmp_path / "two", *asked, "--folders", f"vggish,{names}")
    assert file_bytes(tmp_path / "two") == file_bytes(tmp_path / "out")


def test_av_masters_sentences_and_words_come_out_with_the_same_bytes(tmp_path):
    feats = tmp_path / "feats"
    write_dump(feats / "vggish_audio", "vggish", {"00000007": 60})
    for folder, shape in (
        ("clip_sentence_l14_336px", (1, 768)),
        ("clip_word_l14_336px", (1, 77, 768)),
    ):
        (feats / folder).mkdir()
        for number, row in enumerate(ROWS[:4], start=1):
            values = np.random.default_rng(row["question_id"]).standard_normal(shape)
            np.save(feats / folder / f"{number}.npy", values.astype("float32"))
    asked = ("--dataset", "music-avqa", "--annotations", write(tmp_path / "avqa-test.json", ROWS))
    into(tmp_path / "s", "av-master", feats, *asked)
    assert FeatureStore(tmp_path / "s").text_features == (
        "clip_vit_l14_336/sentence",
        "clip_vit_l14_336/word",
    )
    write(asked[-1], ROWS[:4])
    folders = "vggish_audio,clip_sentence_l14_336px,clip_word_l14_336px"
    out_of(tmp_path / "s", "av-master", tmp_path / "out", *asked, "--folders", folders)
    assert file_bytes(tmp_path / "out") == file_bytes(feats)


def test_what_a_name_of_two_networks_is_taken_for_is_said(tmp_path):
    name = "frame_1fps_ViT-L14@336px"
    write_dump(tmp_path / "feats/clip_feats" / name, "clip_vit_l14", {"a": 60})
    line = (
        f"clip_feats/{name}: taken as clip_vit_l14_336/frame, as TSPM and QA-TIGER have it;"
        " CueSpace's files of this name are of the network that merges tokens: --from-layout"
        " cuespace, or --kind clip_l14_frame_tome, takes them as clip_vit_l14_336/frame@tome"
    )
    done = run("import", "npy", "--from", tmp_path / "feats", "--store", tmp_path / "s")
    assert done.stderr.splitlines()[0] == line
    assert open_store(tmp_path / "s").features == ("clip_vit_l14_336/frame",)
    assert "taken as" not in into(tmp_path / "t", "tspm", tmp_path / "feats").stderr
    assert "taken as" not in into(tmp_path / "u", "cuespace", tmp_path / "feats").stderr
    assert open_store(tmp_path / "u").features == ("clip_vit_l14_336/frame@tome",)
    folder = tmp_path / "feats/clip_feats" / name
    asked = ("import", "npy", "--from", folder, "--kind", "clip_l14_frame_tome")
    assert "taken as" not in run(*asked, "--store", tmp_path / "v").stderr
    assert open_store(tmp_path / "v").features == ("clip_vit_l14_336/frame@tome",)
