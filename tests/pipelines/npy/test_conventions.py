"""Conventions of the files of 2024 to 2026: what `avqa compare` says of rows made in their ways."""

import numpy as np
import pytest
from helpers.store.dumps import rows_of

from avqa.pipelines.npy.compare import compare
from avqa.pipelines.npy.layouts import ten_of


def save(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    return path


def two(tmp_path, ours, theirs, folder):
    """Compare two files in folders of this name."""
    left = save(tmp_path / "ours" / folder / "a.npy", ours)
    return compare(left, save(tmp_path / "theirs" / folder / "a.npy", theirs))


def likely(report):
    (stream,) = report.streams
    return stream.likely.convention


def tokens(rows=60, seed=0):
    return rows_of("vit_l16_tome14", rows, seed)[:, :, :64]


def ten_rows(tmp_path, ours, theirs):
    """Compare two files of tokens; what a token is wide does not matter here."""
    return compare(
        save(tmp_path / "ours/visual_tome14/a.npy", ours),
        save(tmp_path / "theirs/visual_tome14/a.npy", theirs),
        kind="vit_l16_tome14",
    )


SORTED = ten_of(60)
SHUFFLED = [58, 0, 32, 6, 45, 12, 51, 19, 38, 25]
OTHERS = [3, 9, 1, 44, 20, 31, 30, 59, 17, 50]


@pytest.mark.parametrize(
    ("taken", "convention"),
    [
        (SORTED, "TSPM's ten rows of the sorted frames"),
        (SHUFFLED, "TSPM's ten rows in the order of a listing that nobody sorted"),
        (OTHERS, "ten rows of other seconds, as TSPM's rule takes them out of a listing that"),
    ],
)
def test_tspms_ten_rows_are_found_in_whatever_order_they_are(tmp_path, taken, convention):
    ours = tokens()
    report = ten_rows(tmp_path, ours, ours[taken].astype("float16").astype("float32"))
    (stream,) = report.streams
    assert stream.likely.convention.startswith(convention)
    assert stream.cosine.min() > 0.999
    moved = "1 videos have their rows in another order"
    assert (moved in stream.reasons) == (taken is not SORTED)
    assert report.data()["equal"] is False


def test_ten_rows_of_both_are_the_same_or_in_another_order(tmp_path):
    ours = tokens(10)
    assert likely(ten_rows(tmp_path / "1", ours, ours)) == "the same as ours"
    (stream,) = ten_rows(tmp_path / "2", ours, ours[::-1]).streams
    assert stream.reasons == ["1 videos have their rows in another order"]
    near = ours[::-1] + 0.5 * tokens(10, seed=1)  # the same order, and other numbers
    (stream,) = ten_rows(tmp_path / "4", ours, near).streams
    assert "1 videos have their rows in another order" not in stream.reasons
    (stream,) = ten_rows(tmp_path / "3", ours, tokens(10, seed=1)).streams
    assert stream.likely.convention.startswith("none known")


def test_rounding_to_half_precision_is_told(tmp_path):
    ours = rows_of("clip_vit_l14", 60)
    report = two(tmp_path, ours, ours.astype("float16").astype("float32"), "x_frame_ViT-L14@336px")
    assert likely(report) == "ours in half precision, stored in a wider type"
    assert report.streams[0].likely.recipe.startswith("--precision openai-fp16, as OpenAI's")
    ours = tokens()
    halved = ours.astype("float16").astype("float32")
    kept = [save(tmp_path / side / "tome14/a.npy", rows)
            for side, rows in (("left", ours), ("right", halved))]  # fmt: skip
    (stream,) = compare(*kept, kind="vit_l16_tome14").streams
    assert stream.likely.recipe == "that of ours; a GPU in half precision made the files"
    assert "values of half precision in a wider type" in report.lines()[2]
    assert report.data()["equal"]


def behind(token):
    """A layer norm with weights that are no ones and zeros."""
    rng = np.random.default_rng(5)
    centred = (token - token.mean(-1, keepdims=True)) / token.std(-1, keepdims=True)
    return centred * rng.uniform(0.2, 3, token.shape[-1]) + rng.standard_normal(token.shape[-1])


def means(seconds=40):
    """AST's class feature before the last norm and behind it: means of two tokens."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((seconds, 1, 768))
    pair = (shared + 0.3 * rng.standard_normal((seconds, 2, 768))) * rng.uniform(
        2, 9, (seconds, 1, 1)
    )
    return pair.mean(1).astype("float32"), behind(pair).mean(1).astype("float32")


def test_rows_behind_asts_last_norm_are_told(tmp_path):
    before, after = means()
    start = "behind the last layer norm: hidden_states[-1] of transformers 4.56.2"
    assert likely(two(tmp_path / "1", before, after, "audio_ast_cls")).startswith(start)
    start = "before the last layer norm, and ours behind it"
    assert likely(two(tmp_path / "2", after, before, "audio_ast_cls")).startswith(start)
    others = np.random.default_rng(1).standard_normal(before.shape)
    assert likely(two(tmp_path / "3", before, others, "audio_ast_cls")).startswith("none known")
    few = two(tmp_path / "4", before[:5], after[:5], "audio_ast_cls")
    assert likely(few).startswith("none known")
