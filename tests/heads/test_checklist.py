"""What every head must do, whatever its paper: found by name, in small sizes."""

import pickle
from dataclasses import fields, replace

import pytest
import torch
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent, select

from avqa import heads
from avqa.errors import UnknownName
from avqa.heads import COLUMNS, HeadInput

SMALL = {"width": 16, "audio_width": 16, "visual_width": 16, "text_width": 16}
CASES = [(name, question) for name in heads.names() for question in ("lstm", "positions", "clip")]
ABLATIONS = [(name, row) for name in heads.names() for row in heads.load(name).ABLATIONS]
LOOKING = [name for name in heads.names() if heads.load(name).Head.FEATURES]


def small(name, seed=0, **options):
    torch.manual_seed(seed)
    return heads.build(name, **SMALL, **options).double()


def inputs_of(head, **sizes):
    return make_inputs(head, dtype=torch.float64, **sizes)


@pytest.fixture(params=CASES, ids="-".join)
def head(request):
    name, question = request.param
    return small(name, question=question).eval()


def same(a, b):
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_logits_are_finite_and_repeat(head):
    inputs = inputs_of(head)
    logits = head(inputs).logits
    assert logits.shape == (3, 42)
    assert logits.isfinite().all()
    assert torch.equal(head(inputs).logits, logits)
    assert logits.std(0).min() > 0  # every answer's score depends on the sample


def test_permuting_the_batch_permutes_the_logits(head):
    inputs, order = inputs_of(head), torch.tensor([2, 0, 1])
    same(head(select(inputs, order)).logits, head(inputs).logits[order])


def test_a_sample_alone_is_what_it_is_among_others(head):
    for inputs in (inputs_of(head), partly_silent(inputs_of(head))):
        together = head(inputs).logits
        for b in range(3):
            same(head(select(inputs, slice(b, b + 1))).logits, together[b : b + 1])


def test_another_video_changes_nothing_here(head):
    inputs, other = inputs_of(head), inputs_of(head, seed=5)
    mixed = HeadInput(
        **{
            name: None if value is None else torch.cat([value[:2], getattr(other, name)[2:]])
            for name, value in vars(inputs).items()
        }
    )
    before, after = head(inputs).logits, head(mixed).logits
    same(after[:2], before[:2])
    assert not torch.allclose(after[2], before[2])


def test_padded_seconds_change_no_logit(head):
    for inputs in (inputs_of(head), partly_silent(inputs_of(head))):
        same(head(pad_seconds(inputs, 3)).logits, head(inputs).logits)


def in_order(inputs, order):
    """The same seconds, one after the other as ``order`` has them."""
    by_second = ("valid", *heads.VIDEO_FEATURES)
    return replace(inputs, **{name: getattr(inputs, name)[:, order] for name in by_second})


@pytest.mark.parametrize("name", LOOKING)
def test_which_heads_know_the_order_of_seconds(name):
    """docs/heads.md says so; mcd is looked at where it samples every second once."""
    options = {"pstp": {"num_segments": 3}, "mcd": {"num_frames": 6}}.get(name, {})
    head = small(name, **options).eval()
    inputs = inputs_of(head, seconds=6)
    inputs = replace(inputs, valid=torch.ones_like(inputs.valid))
    logits = head(inputs).logits
    backwards = head(in_order(inputs, [5, 4, 3, 2, 1, 0])).logits
    shuffled = head(in_order(inputs, [2, 0, 5, 1, 3, 4])).logits
    knows = ("avaf", "bilinear", "qa_tiger", "tjstg")
    assert torch.allclose(backwards, logits, atol=1e-9) == (name not in knows)
    assert torch.allclose(shuffled, logits, atol=1e-9) == (name not in (*knows, "pstp"))


def test_what_lies_behind_the_end_does_not_matter(head):
    inputs = inputs_of(head)
    hidden = ~inputs.valid
    noisy = {}
    for name in heads.VIDEO_FEATURES:
        noisy[name] = getattr(inputs, name).clone()
        noisy[name][hidden] = 50.0
    same(head(replace(inputs, **noisy)).logits, head(inputs).logits)


def test_the_question_matters(head):
    inputs, other = inputs_of(head), inputs_of(head, seed=5)
    text = ("tokens", "sentence", "words", "eot", "type_tokens", "keyword_tokens")
    asked = replace(inputs, **{name: getattr(other, name) for name in text})
    assert ((head(asked).logits - head(inputs).logits).abs().amax(1) > 1e-6).all()


@pytest.mark.parametrize("name", LOOKING)
def test_each_feature_matters(name):
    head = small(name).eval()
    inputs = inputs_of(head)
    for feature in head.FEATURES:
        changed = replace(inputs, **{feature: getattr(inputs, feature).flip(-1)})
        difference = (head(changed).logits - head(inputs).logits).abs().amax(1)
        assert (difference > 1e-7).all(), feature


def test_one_sample_of_one_second_with_one_patch(head):
    inputs = inputs_of(head, batch=1, seconds=1, patches=1)
    output = head(inputs, explain=True)
    assert output.logits.isfinite().all()
    assert all(value.isfinite().all() for value in output.explain.values())


def test_explanations_come_on_request_only(head):
    inputs = inputs_of(head)
    plain, told = head(inputs), head(inputs, explain=True)
    assert plain.explain == {}
    same(told.logits, plain.logits)
    assert all(len(value) == 3 for value in told.explain.values())


def test_auxiliary_losses_come_in_training_only(head):
    inputs = inputs_of(head)
    assert head(inputs).aux_losses == {}
    losses = head.train()(inputs).aux_losses
    assert set(losses) <= set(head.aux_weights)
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())


def test_what_it_needs_is_enough(head):
    """Training reads no other text."""
    inputs = inputs_of(head)
    only = HeadInput(valid=inputs.valid, **{name: getattr(inputs, name) for name in head.needs})
    same(head(only).logits, head(inputs).logits)


def test_evaluation_needs_no_labels_and_no_negatives(head):
    inputs = inputs_of(head)
    bare = replace(
        inputs, video=None, negative_patch=None, sources=None, source_weight=None, choices=None
    )
    same(head(bare).logits, head(inputs).logits)


@pytest.mark.parametrize("name", heads.names())
def test_every_parameter_learns(name):
    head = small(name).train()
    torch.manual_seed(1)
    inputs = inputs_of(head, batch=4, seconds=6)
    heads.total_loss(head, head(inputs), torch.tensor([0, 1, 2, 3])).backward()
    for parameter, p in head.named_parameters():
        gets = p.grad is not None and float(p.grad.abs().max()) > 1e-15  # above rounding
        if parameter.startswith(head.WITHOUT_GRADIENT):
            assert not gets, f"{parameter} does get a gradient"
        else:
            assert gets, f"{parameter} gets no gradient"
            assert p.grad.isfinite().all(), parameter


@pytest.mark.parametrize("name", heads.names())
def test_training_is_random_where_there_is_dropout_and_seeded(name):
    head = small(name, dropout=0.5).train()
    inputs = inputs_of(head)

    def run(seed):
        torch.manual_seed(seed)
        return head(inputs).logits

    rates = {rate for m in head.modules() for rate in (vars(m).get("p"), vars(m).get("dropout"))}
    assert torch.equal(run(1), run(1))
    assert torch.equal(run(1), run(2)) == (0.5 not in rates)


@pytest.mark.parametrize(("name", "question"), CASES)
def test_permuting_the_options_permutes_their_scores(name, question):
    head = small(name, answer="choices", question=question).eval()
    inputs = inputs_of(head)
    logits = head(inputs).logits
    assert logits.shape == (3, 4)
    assert logits[0, 3] == -torch.inf
    assert logits[1:].isfinite().all()
    order = [2, 0, 3, 1]
    swapped = replace(
        inputs, choices=inputs.choices[:, order], choice_valid=inputs.choice_valid[:, order]
    )
    same(head(swapped).logits, logits[:, order])
    loss = heads.total_loss(head, head.train()(inputs), torch.tensor([0, 1, 2]))
    loss.backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "row"), ABLATIONS, ids=lambda x: x)
def test_every_ablation_is_a_set_of_options(name, row):
    ablation = heads.load(name).ABLATIONS[row]
    head = small(name, **{k: v for k, v in ablation.options.items() if k not in SMALL})
    inputs = inputs_of(head, batch=4, seconds=6)
    loss = heads.total_loss(head, head.train()(inputs), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    assert loss.isfinite()
    assert head.eval()(inputs, explain=True).logits.isfinite().all()
    assert set(ablation.values) <= {*COLUMNS, "AVQA"}
    assert heads.count_flops(head.float(), seconds=6, patches=9) > 0


FIRST = {
    "avaf": "q_pool audio_encoder num_seconds avcm qoaf fuse weight_relu tacl temp_loss alpha sacl"
    " beta phi tau spat_temp spat_batch_neg",
    "avst": "modalities temporal spatial ground_temp",
    "late_fusion": "",
    "mcd": "text_objects text_encoder num_blocks self_attention cross_query compress num_seconds"
    " cross norm aggregator num_frames lef late_fusion loss_qv loss_qa loss_av tau skip_same_video"
    " plain",
    "pstp": "num_segments top_k_segments top_k_patches lgpm_layers avf select_from select_grad pool"
    " fusion use_tssm use_srsm use_avam use_lgpm",
    "question_only": "",
    "sasr": "variant ground_temp num_sources slt sasr sa ta slt_attn residual sa_norm temporal"
    " shortcut",
    "tjstg": "target_aware target ta_query ta_grad target_mlp combine threshold ground_on"
    " ground_temp order stream csl joint_dropout",
}
"""Head → its options in the first version: runs of that time have no others."""


@pytest.mark.parametrize("name", FIRST)
def test_options_that_came_later_say_what_stands_for_them_in_old_runs(name):
    kind = heads.load(name).Options
    own = {f.name for f in fields(kind)} - {f.name for f in fields(heads.HeadOptions)}
    later = heads.options_before(kind).keys() - heads.options_before(heads.HeadOptions).keys()
    assert own - {*FIRST[name].split()} == later
    kind(**heads.options_before(kind))  # values that can be


@pytest.mark.parametrize("name", heads.names())
def test_heads_pickle_and_reload(name):
    head = small(name).eval()
    copy = pickle.loads(pickle.dumps(head))
    inputs = inputs_of(head)
    assert torch.equal(copy(inputs).logits, head(inputs).logits)
    fresh = small(name, seed=1).eval()
    fresh.load_state_dict(head.state_dict())
    assert torch.equal(fresh(inputs).logits, head(inputs).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: {"audio": i.audio[0]}, r"audio has shape \(4, 16\); expected 3 axes"),
        (lambda i: {"audio": i.audio[..., :3]}, "audio has width 3; expected audio_width=16"),
        (lambda i: {"audio": i.audio[:2]}, "audio has batch 2; expected that of valid, 3"),
        (lambda i: {"audio": i.audio[:, :2]}, "audio has T=2; expected that of valid, 4"),
        (lambda i: {"audio": None}, "audio is missing"),
        (lambda i: {"tokens": i.tokens.float()}, "^tokens has dtype float32; expected int64; conv"),
        (
            lambda i: {"audio": i.audio.numpy()},
            r"^audio is a ndarray; expected a tensor; convert it: torch.as_tensor\(audio, dtype=t",
        ),
        (lambda i: {"tokens": None}, "tokens is missing"),
        (lambda i: {"tokens": i.tokens * 0}, "tokens: sample 0 has nothing unmasked"),
        (
            lambda i: {"audio_valid": i.valid.long()},
            r"^audio_valid has dtype int64; expected bool; convert it: audio_valid.to\(torch.bool",
        ),
        (
            lambda i: {"audio_valid": i.valid.tolist()},
            r"^audio_valid is a list; expected a tensor; convert it: torch.as_tensor\(audio_valid",
        ),
        (lambda i: {"audio_valid": i.valid[0]}, r"audio_valid has shape \(4,\); expected 2 axes"),
        (lambda i: {"audio_valid": i.valid[:2]}, "audio_valid has batch 2; expected that of valid"),
        (
            lambda i: {"audio_valid": i.valid[:, :2]},
            "audio_valid has T=2; expected that of valid, 4",
        ),
        (lambda i: {"valid": i.valid.long()}, r"dtype torch.int64; expected bool \[B, T\]"),
        (lambda i: {"valid": i.valid[:, :0]}, "valid has T=0 seconds; expected at least one"),
        (lambda i: {"valid": i.valid & False}, "valid: sample 0 has nothing unmasked"),
    ],
)
@pytest.mark.parametrize("name", LOOKING)
def test_wrong_input_is_refused_by_name(name, change, message):
    head = small(name, question="lstm", time_code="none")
    inputs = inputs_of(head)
    if "audio" not in head.FEATURES:
        pytest.skip(f"{name} takes no audio")
    with pytest.raises(ValueError, match=message):
        head(replace(inputs, **change(inputs)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32])
def test_features_as_a_store_has_them_are_refused_by_name(dtype):
    head = heads.build("late_fusion", width=8).eval()
    inputs = heads.random_input(head, batch=2, seconds=3, patches=1)
    assert head(inputs).logits.dtype == torch.float32
    with pytest.raises(ValueError) as caught:
        head(replace(inputs, audio=inputs.audio.to(dtype)))
    assert str(caught.value) == (
        f"audio has dtype {str(dtype).removeprefix('torch.')}; expected float32, as the weights of"
        " head=late_fusion; convert it: audio.to(torch.float32)"
    )
    of_double = small("late_fusion").double()
    with pytest.raises(ValueError, match="has dtype float32; expected float64, as the weights of"):
        of_double(heads.random_input(of_double, batch=2, seconds=3, patches=1))


@pytest.mark.parametrize("name", heads.names())
def test_wrong_options_are_refused_together(name):
    with pytest.raises(
        ValueError, match="question='bert'; expected one of lstm, positions, clip; .*dro"
    ):
        heads.build(name, question="bert", dropout=1.5)
    with pytest.raises(UnknownName, match=f"no option of {name} 'widht'; did you mean 'width'"):
        heads.build(name, widht=3)


def test_unknown_heads_name_the_nearest():
    with pytest.raises(UnknownName, match="no head 'late_fusoin'; did you mean 'late_fusion'"):
        heads.load("late_fusoin")


def test_a_whole_number_for_a_rate_is_a_rate():
    assert heads.build("question_only", width=8, dropout=0).options.dropout == 0
    with pytest.raises(ValueError, match=r"^width=0; expected 1 or more; dropout=1; expected at"):
        heads.build("question_only", width=0, dropout=1)
