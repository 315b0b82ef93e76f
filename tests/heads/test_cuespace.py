"""CueSpace against loops written from its equations, its counts, its slots, silence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_head, make_inputs, pad_seconds, partly_silent, select
from helpers.heads.numpy_blocks import parameters
from helpers.heads.numpy_cuespace import cuespace

from avqa import heads
from avqa.heads.cuespace.paper import ABLATIONS, PAPER

SMALL = {"width": 16, "audio_width": 5, "visual_width": 6, "patch_width": 9, "text_width": 7}
SMALL |= {"word_width": 11, "band_width": 10, "num_answers": 4, "experts": 3}
OPTIONS = [
    {},
    {"mask_words": False},
    {"patches": False},
    {"question_fusion": False},
    {"routing": "uniform"},
    {"collaborative": False},
    {"question": "lstm"},
    {"answer": "choices"},
    {"answer": "choices", "question": "lstm"},
    {"answer": "choices", "options": "per_option"},
    {"answer": "choices", "options": "per_option", "mask_words": False},
]


def uneven(head):
    """5 seconds, a hole in the second sample, one second in the third; 14 positions of words."""
    inputs = make_inputs(head, seconds=5, patches=4, dtype=torch.float64)
    cut = {"words": inputs.words[:, :14], "choice_words": inputs.choice_words[:, :, :14]}
    inputs = replace(inputs, **cut)
    valid = torch.ones(3, 5).bool()
    valid[1, 3] = False
    valid[2, 1:] = False
    return replace(inputs, valid=valid)


def sample_of(inputs, b):
    given = {n: x[b].numpy() for n, x in vars(inputs).items() if x is not None}
    given["heard"] = inputs.heard[b].numpy()
    for mask, names in (("valid", ("frame", "patch")), ("heard", ("audio", "bands"))):
        for name in names:
            given[name] = np.array([r * t for r, t in zip(given[name], given[mask], strict=True)])
    return given


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_whole_head_equals_the_loops(options, silence):
    head = make_head("cuespace", 0, **{**SMALL, **options}).eval()
    inputs = partly_silent(uneven(head)) if silence else uneven(head)
    found = head(inputs, explain=True)
    p = parameters(head)
    for b in range(3):
        logits, told = cuespace(p, sample_of(inputs, b), head.options)
        np.testing.assert_allclose(found.logits[b].detach(), logits, atol=1e-9)
        assert told.keys() == found.explain.keys()
        for name, value in found.explain.items():
            np.testing.assert_allclose(value[b].detach(), told[name], atol=1e-9, err_msg=name)


def built(**options):
    with torch.device("meta"):
        return heads.build("cuespace", **options)


def used(head):
    named = head.named_parameters()
    return sum(p.numel() for name, p in named if not name.startswith(head.WITHOUT_GRADIENT))


def test_as_many_parameters_as_counted():
    head = built()
    assert heads.count_parameters(head) == 38_548_295
    assert used(head) == 36_442_438 == 38_548_295 - 2_105_857


def test_every_option_scores_by_a_layer_of_one():
    """Scores of options: 513 parameters in place of the 21,546 of the answers."""
    head = built(answer="choices")
    assert heads.count_parameters(head) == 38_548_295
    assert used(head) == 36_442_438 - 21_546 + 513


def test_the_modules_have_as_many_as_counted():
    parts = {name: sum(p.numel() for p in m.parameters()) for name, m in built().named_children()}
    assert parts == {
        "question": 2 * (768 * 512 + 512),
        "question_norm": 1_024,
        "audio": 768 * 512 + 512,
        "visual": 768 * 512 + 512,
        "bands": 768 * 512 + 512,
        "patch": 1024 * 512 + 512,
        "align_audio": 263_680,
        "align_visual": 263_680,
        "fusion": 2_628_608,
        "own": 2 * 2_366_208,
        "crossed": 2 * 2_366_208,
        "mixtures": 2 * 2_896_647,
        "cross_mixtures": 2 * 2_896_647,
        "together": 3_148_288,
        "chains": 7 * (1_050_624 + 1_024),
        "readout": 1_314_560,
        "answer": 21_546,
        "score": 513,
    }


def test_layers_start_as_released():
    torch.manual_seed(0)
    head = heads.build("cuespace", width=128)
    for name, layer in head.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer.weight.numel() > 4000:
            assert not layer.bias.any(), name
            of_torch = name.endswith("out_proj") and name.startswith(("own", "cross", "mix"))
            same = (
                abs(float(layer.weight.detach().std()) / (2 / layer.in_features) ** 0.5 - 1) < 0.1
            )
            assert same != of_torch, name


def test_the_other_samples_of_a_batch_do_not_matter():
    torch.manual_seed(0)
    head = heads.build("cuespace", **SMALL).double().eval()
    inputs = partly_silent(make_inputs(head, batch=4, seconds=6, dtype=torch.float64))
    together = head(inputs).logits
    for b in range(4):
        alone = head(select(inputs, slice(b, b + 1))).logits
        torch.testing.assert_close(alone[0], together[b], atol=1e-12, rtol=0)


def assert_shared_as_apart(head, inputs):
    """Three questions about two videos, whose rows are given once, or once a question."""
    of_video = torch.tensor([1, 0, 1])
    names = ("valid", "audio_valid", *heads.VIDEO_FEATURES)
    rows = {n: x[:2] for n in names if (x := getattr(inputs, n)) is not None}
    shared = replace(inputs, of_video=of_video, video=of_video, **rows)
    torch.testing.assert_close(head(shared).logits, head(shared.apart()).logits)


def test_questions_about_one_video_share_its_rows():
    torch.manual_seed(0)
    head = heads.build("cuespace", **SMALL).double().eval()
    inputs = partly_silent(make_inputs(head, dtype=torch.float64))
    assert_shared_as_apart(head, inputs)


@pytest.mark.parametrize("form", ["shared", "per_option"])
def test_options_are_scored_in_whatever_order_and_for_one_video_together(form):
    torch.manual_seed(0)
    head = heads.build("cuespace", **SMALL, answer="choices", options=form).double().eval()
    inputs = make_inputs(head, dtype=torch.float64)
    logits = head(inputs).logits
    order, of_options = [2, 0, 3, 1], ("choices", "choice_words", "choice_eot", "choice_valid")
    swapped = {name: getattr(inputs, name)[:, order] for name in of_options}
    torch.testing.assert_close(head(replace(inputs, **swapped)).logits, logits[:, order])
    assert_shared_as_apart(head, inputs)


@pytest.mark.parametrize("form", ["shared", "per_option"])
def test_an_option_in_the_question_s_place_leaves_nothing_of_it(form):
    torch.manual_seed(0)
    head = heads.build("cuespace", **SMALL, answer="choices", options=form).double().eval()
    inputs = make_inputs(head, dtype=torch.float64)
    logits = head(inputs).logits
    unasked = replace(inputs, sentence=-inputs.sentence, words=-inputs.words)
    assert torch.equal(head(unasked).logits, logits) == (form == "per_option")
    other = replace(inputs, choice_words=inputs.choice_words.clone())
    other.choice_words[1, 2] *= -1
    changed = head(other).logits != logits
    assert changed.nonzero().tolist() == ([[1, 2]] if form == "per_option" else [])
    assert {"sentence", "words", "eot"} <= {*head.needs} or form == "per_option"
    for name in ("sentence", "words", "eot") if form == "per_option" else ():
        inputs = replace(inputs, **{name: None})
    assert torch.equal(head(inputs).logits, logits)


def test_a_pass_for_each_option_needs_words_of_its_text():
    message = "^options=per_option with question=lstm; expected question=clip, since CLIP's words"
    with pytest.raises(ValueError, match=message):
        heads.build("cuespace", **SMALL, options="per_option", question="lstm")
    head = heads.build("cuespace", **SMALL, answer="choices", options="per_option")
    inputs = make_inputs(head)
    with pytest.raises(ValueError, match="^choice_words is missing; head=cuespace needs"):
        head(replace(inputs, choice_words=None))


@pytest.mark.parametrize("options", [{}, {"collaborative": False}, {"patches": False}], ids=str)
def test_seconds_behind_the_end_change_nothing(options):
    head = make_head("cuespace", 1, **{**SMALL, **options}).eval()
    inputs = partly_silent(make_inputs(head, seconds=5, dtype=torch.float64))
    longer, plain = head(pad_seconds(inputs, 4), explain=True), head(inputs, explain=True)
    torch.testing.assert_close(longer.logits, plain.logits, atol=1e-12, rtol=0)
    for name, value in plain.explain.items():
        if name.startswith(("second_weight", "patch_attn", "band_attn")):
            assert not longer.explain[name][:, 5:].any()
            torch.testing.assert_close(longer.explain[name][:, :5], value)


def test_bands_are_hidden_where_there_is_no_sound():
    head = make_head("cuespace", 1, **SMALL).eval()
    inputs = partly_silent(make_inputs(head, dtype=torch.float64))
    bands = inputs.bands.clone()
    bands[~inputs.heard] = float("nan")
    assert torch.equal(head(replace(inputs, bands=bands)).logits, head(inputs).logits)
    bands[1, 1] = 1.0
    assert not torch.equal(head(replace(inputs, bands=bands)).logits[1], head(inputs).logits[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: {"bands": None}, "^bands is missing; head=cuespace needs"),
        (lambda i: {"bands": i.bands[:, :, 0]}, r"^bands has shape \(3, 4, 10\); expected 4 axes"),
        (lambda i: {"bands": i.bands[..., :3]}, "^bands has width 3; expected band_width=10"),
        (lambda i: {"bands": i.bands[:, :2]}, "^bands has T=2; expected that of valid, 4"),
    ],
)
def test_wrong_bands_are_refused_by_name(change, message):
    head = heads.build("cuespace", **SMALL)
    inputs = make_inputs(head)
    with pytest.raises(ValueError, match=message):
        head(replace(inputs, **change(inputs)))


def test_words_behind_the_end_are_slots_only_as_released():
    torch.manual_seed(0)
    for mask_words in (True, False):
        head = heads.build("cuespace", **SMALL, mask_words=mask_words).double().eval()
        inputs = make_inputs(head, dtype=torch.float64)
        words = inputs.words.clone()
        words[torch.arange(77) > inputs.eot.unsqueeze(1)] = 3.0
        same = torch.equal(head(replace(inputs, words=words)).logits, head(inputs).logits)
        assert same == mask_words == (not head.every_word)


def test_evidence_is_where_the_slots_look():
    head = make_head("cuespace", 0, **SMALL).eval()
    inputs = partly_silent(uneven(head))
    output = head(inputs, explain=True)
    found, told = head.evidence(inputs, output), output.explain
    seen = told["second_weight_visual"] + told["second_weight_both"]
    heard = (told["second_weight_audio"] + told["second_weight_both"]) * inputs.heard
    expected = seen / seen.sum(1, keepdim=True)
    torch.testing.assert_close(found.frame_time, expected)
    torch.testing.assert_close(found.seconds[0], expected[0])  # no sound
    torch.testing.assert_close(found.audio_time[1], heard[1] / heard[1].sum())
    torch.testing.assert_close(found.patches.sum(-1), inputs.valid.double())
    torch.testing.assert_close(found.words.sum(1), torch.ones(3).double())
    assert found.words.shape == (3, 13)


def test_the_published_row_is_of_the_updated_annotation():
    (row,) = PAPER.figures
    assert (row.values, row.annotation) == ({"All": 79.22}, "u")
    assert round(7232 / 9129 * 100, 2) == 79.22
    assert "7,232 of 9,129" in row.note
    assert "ours" in PAPER.recipe.note
    assert PAPER.recipe.audio == "ast"
    assert ABLATIONS["full"].values == row.values


def planted(head, batch, g):
    """One band or one patch of one second holds the answer; the question says which of the two."""
    seconds, answers = 4, 4
    second = torch.randint(seconds, (batch,), generator=g)
    of_sound = torch.rand(batch, generator=g) < 0.5
    answer = torch.randint(answers, (batch,), generator=g)
    inputs = make_inputs(head, batch=batch, seconds=seconds, patches=3, seed=int(second.sum()))
    bands, patch = 0.3 * inputs.bands, 0.3 * inputs.patch
    row = torch.arange(batch)
    for cues, here in ((bands, of_sound), (patch, ~of_sound)):
        place = torch.randint(3, (batch,), generator=g)
        decoy = torch.randint(answers, (batch,), generator=g)
        cues[row, second, place] = 0
        cues[row, second, place, torch.where(here, answer, decoy)] = 4
    sentence = torch.where(of_sound.unsqueeze(1), 1.0, -1.0) * torch.ones(8)
    words = sentence.unsqueeze(1).expand(-1, 3, -1)
    valid = torch.ones(batch, seconds, dtype=torch.bool)
    given = {"bands": bands, "patch": patch, "sentence": sentence, "words": words}
    given["eot"] = torch.full((batch,), 2)
    return replace(inputs, valid=valid, audio_valid=None, **given), answer


def test_it_learns_which_cue_of_which_stream_holds_the_answer():
    torch.manual_seed(0)
    names = ("audio", "visual", "patch", "band", "text", "word")
    sizes = {"width": 64} | {f"{name}_width": 8 for name in names}
    head = heads.build("cuespace", **sizes, num_answers=4, dropout=0.0).train()
    adam = torch.optim.Adam(head.parameters(), 1e-3, betas=(0.95, 0.999))
    g = torch.Generator().manual_seed(1)
    for _ in range(140):
        inputs, answers = planted(head, 24, g)
        loss = heads.total_loss(head, head(inputs), answers)
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        inputs, answers = planted(head.eval(), 400, g)
        found = head(inputs).logits.argmax(1) == answers
    assert found.double().mean() > 0.9  # a decoy in the other stream: 62 % by one stream alone
