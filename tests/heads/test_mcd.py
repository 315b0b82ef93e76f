"""MCD against loops written from its equations, its counts, and its own rules."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.heads import numpy_mcd
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent
from helpers.heads.numpy_blocks import linear, parameters, unit
from hypothesis import given, settings
from hypothesis import strategies as st

from avqa.heads import HeadInput, HeadOptions, build, load
from avqa.heads.mcd import association
from avqa.heads.mcd.aggregator import sample_frames
from avqa.heads.mcd.association import MaskedNorm
from avqa.heads.mcd.head import contrast

SIZES = {"width": 8, "audio_width": 5, "visual_width": 6, "text_width": 7, "num_answers": 4}
SMALL = {**SIZES, "vocabulary": 11, "num_frames": 4, "num_seconds": 9}


def small(**options):
    """A head in float64 whose every parameter and statistic is random."""
    torch.manual_seed(0)
    head = build("mcd", **{**SMALL, **options}).double().eval()
    for p in head.parameters():
        torch.nn.init.normal_(p, std=0.4)
    for name, buffer in head.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2.0)
    return head


def inputs_of(head, **sizes):
    sizes = {"seconds": 6, "patches": 1, **sizes}
    inputs = make_inputs(head, dtype=torch.float64, **sizes)
    inputs.valid[0, 1] = False  # a hole, and in the last sample fewer seconds than frames
    inputs.valid[-1, 3:] = False
    return inputs


def numpy_samples(head, inputs):
    p = parameters(head)
    fields = {k: v.numpy() for k, v in vars(inputs).items() if v is not None}
    return p, [{k: v[b] for k, v in fields.items()} for b in range(len(inputs.valid))]


OPTIONS = [
    {},
    {"question": "clip"},
    {"pack": True},
    {"text_encoder": "bilstm"},
    {"text_objects": False},
    {"text_objects": False, "question": "clip"},
    {"answer": "choices"},
    {"answer": "choices", "question": "clip"},
    {"num_blocks": 1},
    {"num_blocks": 3, "num_frames": 2},
    {"compress": "fc"},
    {"cross": "channel"},
    {"norm": "layer"},
    {"aggregator": "literal"},
    {"aggregator": "literal", "question": "clip"},
    *({"lef": parts} for parts in ("no_visual", "no_audio", "no_text", "add")),
    *({"late_fusion": how} for how in ("add", "concat")),
    *({"self_attention": which} for which in ("audio", "visual", "none")),
    *({"cross_query": which} for which in ("audio", "visual", "none")),
    {"self_attention": "none", "cross_query": "none"},
    {"self_attention": "none", "cross_query": "audio"},
    *({"plain": inputs} for inputs in ("q", "a", "v", "qa", "qv", "qav")),
]


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_equal_the_loop(options, silence):
    head = small(**options)
    inputs = partly_silent(inputs_of(head)) if silence else inputs_of(head)
    logits = head(inputs).logits.detach()
    p, samples = numpy_samples(head, inputs)
    for b, s in enumerate(samples):
        expected = numpy_mcd.sample(p, s, head.options)["logits"]
        np.testing.assert_allclose(logits[b], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize("question", ["lstm", "clip"])
def test_explanations_equal_the_loop(question, silence):
    head = small(question=question)
    inputs = partly_silent(inputs_of(head)) if silence else inputs_of(head)
    told = {k: v.detach().numpy() for k, v in head(inputs, explain=True).explain.items()}
    p, samples = numpy_samples(head, inputs)
    for b, s in enumerate(samples):
        found = numpy_mcd.sample(p, s, head.options)
        valid = np.flatnonzero(s["valid"])
        ranks = numpy_mcd.spread_frames(len(valid), 4)
        np.testing.assert_array_equal(told["sampled_frames"][b], valid[ranks])
        kinds = ("visual",) if silence and b == 0 else ("audio", "visual")
        levels = [found[f"{level}_{m}"] for level in ("low", "high") for m in kinds]
        np.testing.assert_allclose(told["frame_attn"][b], sum(x[3] for x in levels) / len(levels))
        words = told["word_attn"][b]
        real = len(levels[0][4])
        np.testing.assert_allclose(words[:real], sum(x[4] for x in levels) / len(levels))
        assert (words[real:] == 0).all()
        asked = linear(numpy_mcd.at(p, "project.question."), found["fused"])
        for m in ("audio", "visual"):
            _, kept, scores, *_ = found[f"high_{m}"]
            seen = np.isin(told[f"clue_frames_{m}"][b], kept)
            np.testing.assert_array_equal(told[f"clue_frames_{m}"][b][seen], kept)
            np.testing.assert_allclose(told[f"clue_scores_{m}"][b][seen], scores)
            assert (told[f"clue_scores_{m}"][b][~seen] == 0).all()
            if m not in kinds:
                assert not seen.any()
                assert told[f"cosine_{m}"][b] == 0
                continue
            heard = linear(numpy_mcd.at(p, f"project.{m}."), found[f"pooled_{m}"])
            np.testing.assert_allclose(told[f"cosine_{m}"][b], unit(asked) @ unit(heard))


def test_literal_has_no_attention_to_show():
    head = small(aggregator="literal", loss_qa=False)
    told = head(inputs_of(head), explain=True).explain
    assert "word_attn" not in told
    assert "cosine_audio" not in told
    assert "cosine_visual" in told


@pytest.mark.parametrize("silence", [False, True], ids=["sound", "silence"])
@pytest.mark.parametrize(
    ("skip", "options"),
    [(True, {}), (False, {}), (True, {"negatives": "matched", "tau": 0.07})],
    ids=str,
)
def test_losses_equal_the_loop(skip, options, silence):
    # Without dropout, with layer norm and with as many frames as there are, training computes
    # what evaluation does.
    head = small(dropout=0.0, norm="layer", skip_same_video=skip, **options)
    inputs = inputs_of(head, batch=4, seconds=4)
    inputs = replace(inputs, video=torch.tensor([3, 5, 3, 7]))
    inputs = partly_silent(inputs) if silence else inputs
    videos = inputs.video.tolist() if skip else [0, 1, 2, 3]
    assert head(inputs).aux_losses == {}
    losses = {k: v.item() for k, v in head.train()(inputs).aux_losses.items()}
    p, samples = numpy_samples(head, inputs)
    found = [numpy_mcd.sample(p, s, head.options) for s in samples]

    def projected(layer, name):
        return [linear(numpy_mcd.at(p, f"project.{layer}."), f[name]) for f in found]

    asked = projected("question", "fused")
    expected = {
        "qa": (asked, projected("audio", "pooled_audio")),
        "qv": (asked, projected("visual", "pooled_visual")),
        "av": tuple([f[f"cross_{m}"] for f in found] for m in ("visual", "audio")),
    }
    for name, (anchors, others) in expected.items():
        there = [not (silence and name in ("qa", "av") and b == 0) for b in range(4)]
        value = numpy_mcd.contrast(
            anchors, others, options.get("tau", 1), videos, options.get("negatives"), there
        )
        assert losses[name] == pytest.approx(value, rel=1e-6), name
    assert set(losses) == set(expected)
    assert head.aux_weights == {"qv": 1.0, "qa": 1.0, "av": 0.1}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"loss_qv": False}, {"qa", "av"}),
        ({"loss_qa": False}, {"qv", "av"}),
        ({"loss_av": False}, {"qv", "qa"}),
        ({"cross_query": "audio"}, {"qv", "qa"}),
        ({"plain": "qav"}, set()),
        ({"loss_qv": False, "loss_qa": False, "loss_av": False}, set()),
    ],
    ids=[str(number) for number in range(6)],
)
def test_losses_that_are_off_or_have_no_terms_are_absent(options, left):
    head = small(**options).train()
    assert set(head(inputs_of(head)).aux_losses) == left == set(head.aux_weights)


def test_contrast_is_zero_without_negatives():
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    assert contrast(x[:1], y[:1], 0.07, None).item() == 0
    assert contrast(x, y, 0.07, torch.zeros(3)).item() == 0
    assert contrast(x, y, 0.07, None).item() > 0
    assert contrast(x[:1], y[:1], 0.07, None, "matched").item() == 0
    assert contrast(x, y, 0.07, torch.zeros(3), "matched").item() == 0


@given(
    st.lists(st.booleans(), min_size=1, max_size=14).filter(any),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 99),
)
@settings(max_examples=150, deadline=None)
def test_sampled_frames_are_valid_ascending_and_distinct(mask, half, random, seed):
    torch.manual_seed(seed)
    valid, count = torch.tensor([mask, [True] * len(mask)]), 2 * half
    picked = sample_frames(valid, count, random=random)
    assert picked.shape == (2, count)
    for b in range(2):
        seconds = valid[b].nonzero().flatten().tolist()
        found = picked[b].tolist()
        if not random:
            assert found == [seconds[i] for i in numpy_mcd.spread_frames(len(seconds), count)]
        if len(seconds) <= count:
            assert found == seconds + [seconds[-1]] * (count - len(seconds))
        else:
            assert set(found) <= set(seconds)
            assert found == sorted(set(found))


def test_random_frames_are_uniform_and_only_in_training():
    valid = torch.tensor([[True, False, True, True, True, True]]).expand(4000, -1)
    torch.manual_seed(0)
    counts = sample_frames(valid, 2, random=True).flatten().bincount(minlength=6)
    assert counts[1] == 0
    np.testing.assert_allclose(counts[[0, 2, 3, 4, 5]] / 4000, 0.4, atol=0.03)
    head = small(dropout=0.0, norm="layer", num_frames=2)
    inputs = inputs_of(head, seconds=9)
    assert torch.equal(head(inputs).logits, head(inputs).logits)
    head.train()
    assert not torch.equal(head(inputs).logits, head(inputs).logits)


def test_batch_norm_is_the_stock_one_on_valid_rows():
    torch.manual_seed(0)
    ours, stock = MaskedNorm("batch", 5), torch.nn.BatchNorm1d(5)
    x, valid = torch.randn(3, 4, 5), torch.rand(3, 4) > 0.4
    for _ in range(3):
        out = ours(torch.where(valid[..., None], x, 1e6), valid)
        torch.testing.assert_close(out[valid], stock(x[valid]))
    assert (out[~valid] == 0).all()
    assert not torch.equal(stock.running_mean, torch.zeros(5))
    torch.testing.assert_close(ours.norm.running_mean, stock.running_mean)
    torch.testing.assert_close(ours.norm.running_var, stock.running_var)
    ours.eval(), stock.eval()
    torch.testing.assert_close(ours(x, valid).flatten(0, 1), stock(x.flatten(0, 1)))


@pytest.mark.parametrize("aggregator", ["frames", "literal"])
def test_a_sampled_second_without_sound_is_no_clue(aggregator):
    head = small(aggregator=aggregator)
    question, level = head.question(inputs_of(head)), torch.randn(3, 4, 8).double()
    index, heard = torch.arange(4).expand(3, 4), torch.tensor([[True, False, True, True]] * 3)
    loud = torch.where(heard[..., None], level, 50.0)
    found, expected = (head.aggregator(x, index, heard, question) for x in (loud, level))
    assert (found.frames != 1).all()
    torch.testing.assert_close(found.vector, expected.vector)
    torch.testing.assert_close(found.scores, expected.scores)


@pytest.mark.parametrize("known", [True, False])
def test_batch_norm_of_nothing_leaves_its_statistics(known, monkeypatch):
    monkeypatch.setattr(association, "at_hand", lambda tensor: known)
    norm, x = MaskedNorm("batch", 5), torch.randn(3, 4, 5, requires_grad=True)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    out = norm(x, torch.zeros(3, 4, dtype=torch.bool))
    assert (out == 0).all()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    out.sum().backward()
    assert (x.grad == 0).all()


def test_one_position_cannot_be_batch_normalised():
    head = small().train()
    inputs = make_inputs(head, batch=1, seconds=1, dtype=torch.float64)
    with pytest.raises(ValueError, match="norm='batch' has 1 valid second.*use norm='layer'"):
        head(inputs)
    assert head.eval()(inputs).logits.isfinite().all()
    assert small(norm="layer").train()(inputs).logits.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"compress": "fc"}, {"cross": "channel"}], ids=str)
def test_padding_changes_no_logit_and_no_statistic(options):
    head = small(dropout=0.0, **options)
    inputs = inputs_of(head)
    longer = pad_seconds(inputs, 3)
    torch.testing.assert_close(head(longer).logits, head(inputs).logits)
    twin = small(dropout=0.0, **options).train()
    head.train()(longer), twin(inputs)
    for (name, ours), theirs in zip(head.named_buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


def test_more_seconds_than_the_learnt_compression_reads():
    head = small(compress="fc")
    with pytest.raises(ValueError, match="T=10; expected at most num_seconds=9 with compress='fc'"):
        head(make_inputs(head, seconds=10, dtype=torch.float64))


@pytest.mark.parametrize("name", ["type_tokens", "keyword_tokens", "choice_tokens"])
def test_missing_text_objects_say_what_to_do(name):
    head = small(answer="choices")
    inputs = replace(inputs_of(head), **{name: None})
    message = rf"{name} is missing; expected \[B, N\].*or set text_objects=false"
    with pytest.raises(ValueError, match=message):
        head(inputs)
    small(answer="choices", text_objects=False)(inputs)
    assert name in head.needs


@pytest.mark.parametrize(
    ("plain", "needs"),
    [
        ("q", ("sentence", "choices")),
        ("a", ("audio", "choices")),
        ("qv", ("frame", "sentence", "choices")),
    ],
)
def test_the_plain_network_needs_what_it_reads(plain, needs):
    head = small(plain=plain, question="clip", answer="choices")
    assert head.needs == needs
    inputs = inputs_of(head)
    only = replace(HeadInput(valid=inputs.valid), **{name: getattr(inputs, name) for name in needs})
    assert head(only).logits.isfinite().all()


def test_words_are_needed_where_they_are_attended_to():
    usual = ("audio", "frame", "sentence")
    assert small(question="clip", text_objects=False).needs == (*usual, "words", "eot")
    assert small(question="clip", text_objects=False, aggregator="literal").needs == usual


@pytest.mark.parametrize("name", ["self_attention", "cross_query"])
def test_what_each_attention_changes(name):
    """Audio attends to audio; audio that asks changes the frames."""
    off = {"self_attention": "none", "cross_query": "none"}
    head = small(**{**off, name: "audio"})
    inputs = inputs_of(head)
    block = head.blocks[0]
    audio, visual = head.audio(inputs.audio), head.visual(inputs.frame)
    out = block(audio, visual, inputs.valid, inputs.valid)
    assert torch.equal(out.visual, visual) == (name == "self_attention")
    assert torch.equal(out.audio, audio) == (name == "cross_query")


def test_a_question_without_keywords_is_a_single_pad():
    head = small()
    inputs = inputs_of(head)
    none = replace(inputs, keyword_tokens=inputs.keyword_tokens[:, :1] * 0)
    logits = head(none).logits.detach()
    p, samples = numpy_samples(head, none)
    for b, s in enumerate(samples):
        expected = numpy_mcd.sample(p, s, head.options)["logits"]
        np.testing.assert_allclose(logits[b], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 5}, "num_frames=5; expected an even number"),
        ({"tau": 0.0}, "tau=0.0; expected more than 0"),
        ({"num_blocks": 0}, "num_blocks=0; expected 1 or more"),
        ({"width": 7, "text_encoder": "bilstm"}, "width=7; expected an even number with text_enc"),
        ({"cross": "gat"}, "cross='gat'; expected one of gate, channel"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def count(**options):
    with torch.device("meta"):
        return sum(p.numel() for p in build("mcd", **options).parameters())


def test_parameters_are_counted_to_the_unit():
    assert count() == 16_408_618
    assert count(vocabulary=101) == 16_412_714
    assert count(num_blocks=3) - count() == 8_400_896 // 2
    assert count() - count(aggregator="literal") == 5 * 512**2
    assert count() - count(text_objects=False) == 3 * 512**2 + 512


def test_the_question_reaches_the_clues_except_literally():
    for aggregator, reaches in (("frames", True), ("literal", False)):
        head = small(aggregator=aggregator, self_attention="none", cross_query="none")
        inputs = inputs_of(head)
        other = replace(inputs, tokens=inputs.tokens.flip(0))
        a, b = (head(i, explain=True).explain["clue_scores_audio"] for i in (inputs, other))
        assert torch.equal(a, b) != reaches


def test_every_row_of_the_paper_is_there():
    rows = load("mcd").ABLATIONS
    assert {n: rows[f"blocks_{n}"].values["All"] for n in (1, 2, 3)} == {
        1: 76.01,
        2: 76.12,
        3: 75.98,
    }
    assert rows["cross_both"].options == {"self_attention": "none", "cross_query": "both"}
    assert rows["cross_both"].values == {"All": 71.35}
    assert build("mcd", width=8, **rows["no_sa"].options).aux_weights == {}
    assert rows["no_sa"].values == {"AVQA": 89.5}
    assert rows["self_visual"].values == {"All": 67.34}
    assert (rows["resnet18"].visual, rows["resnet18"].values["All"]) == ("resnet18", 74.64)
    assert len(rows) == 33


def test_the_page_names_equations_rows_and_tests_that_exist():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "heads" / "mcd.md").read_text(encoding="utf-8")
    source = "".join(
        p.read_text(encoding="utf-8") for p in (root / "avqa" / "heads" / "mcd").glob("*.py")
    )
    table = page.split("## Equations")[1].split("## Options")[0]
    assert all(f"{eq} " in source for eq in re.findall(r"Eq\. [\d–]+", table))
    assert all(name in globals() for name in re.findall(r"\x60(test_\w+)\x60", table))
    options = re.findall(r"^\| (\x60.*?) \|", page.split("## Options")[1].split("## Abl")[0], re.M)
    named = {name for cell in options for name in re.findall(r"\w+", cell)}
    own = set(load("mcd").Options.__dataclass_fields__) - set(HeadOptions.__dataclass_fields__)
    assert own - {"num_seconds"} <= named
