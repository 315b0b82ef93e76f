"""`Evidence` against sums written out second by second, for every head."""

import numpy as np
import pytest
import torch
from helpers.heads.head_batches import make_inputs, pad_seconds, partly_silent
from hypothesis import assume, given
from hypothesis import strategies as st

from avqa import heads
from avqa.heads._parts.evidence import over_patches, over_time, placed

SMALL = {"width": 16, "audio_width": 16, "visual_width": 16, "text_width": 16}
FEW = {
    "pstp": {"num_segments": 3, "top_k_segments": 2, "top_k_patches": 3},
    "mcd": {"num_frames": 4},
}
"""Options with which a head leaves some of a few seconds and patches out."""
SHOWING = [
    name for name in heads.names() if heads.load(name).Head.evidence is not heads.Head.evidence
]
TIMED = ("seconds", "audio_time", "frame_time")


def told_by(name, seconds=7, **options):
    """A head, its batch, what it explains as arrays, and its evidence."""
    torch.manual_seed(0)
    head = heads.build(name, **SMALL, **options).double().eval()
    inputs = make_inputs(head, seconds=seconds, dtype=torch.float64)
    output = head(inputs, explain=True)
    told = {key: value.detach().numpy() for key, value in output.explain.items()}
    return head, inputs, told, head.evidence(inputs, output)


def close(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-12)


def share(x):
    """Rows of [B, T] divided by their sums."""
    return x / x.sum(1, keepdims=True)


@pytest.mark.parametrize("question", ["lstm", "clip"])
@pytest.mark.parametrize("name", SHOWING)
def test_weights_sum_to_one_over_valid_seconds(name, question):
    _, inputs, _, evidence = told_by(name, question=question, **FEW.get(name, {}))
    assert not inputs.valid.all()
    assert evidence != heads.Evidence()
    for field in TIMED:
        if (weights := getattr(evidence, field)) is not None:
            assert weights.shape == inputs.valid.shape
            assert (weights >= 0).all()
            assert (weights[~inputs.valid] == 0).all(), field
            close(weights.sum(1), np.ones(3))
    if evidence.patches is not None:
        assert evidence.patches.shape == inputs.patch.shape[:3]
        assert (evidence.patches[~inputs.valid] == 0).all()
        totals = evidence.patches.sum(2).detach().numpy()
        assert ((abs(totals - 1) < 1e-9) | (totals == 0)).all()
    for weights in (evidence.modality, evidence.words):
        if weights is not None:
            close(weights.sum(1), np.ones(3))


@pytest.mark.parametrize("name", SHOWING)
def test_a_video_without_sound_is_looked_at_alone(name):
    head, inputs, _, before = told_by(name, **FEW.get(name, {}))
    inputs = partly_silent(inputs)
    evidence = head.evidence(inputs, head(inputs, explain=True))
    close(evidence.seconds.sum(1), np.ones(3))
    for field, weights in vars(evidence).items():
        assert (weights is None) == (getattr(before, field) is None)
    if evidence.audio_time is not None:
        assert (evidence.audio_time[0] == 0).all()
        assert evidence.audio_time[1, 0] == 0
        close(evidence.audio_time.sum(1)[1:], np.ones(2))
        close(evidence.seconds[0], evidence.frame_time[0].detach().numpy())
    if evidence.modality is not None:
        assert evidence.modality[0].tolist() == [1, 0]


def test_sound_alone_that_is_not_there_counts_all_seconds_alike():
    torch.manual_seed(0)
    head = heads.build("avst", **SMALL, modalities="aq", spatial=False).eval()
    inputs = partly_silent(make_inputs(head))
    evidence = head.evidence(inputs, head(inputs, explain=True))
    assert evidence.seconds[0].tolist() == [0.25] * 4
    assert evidence.audio_time[0].tolist() == [0] * 4


@pytest.mark.parametrize("name", SHOWING)
def test_padding_changes_no_evidence(name):
    head, inputs, _, evidence = told_by(name, **FEW.get(name, {}))
    longer = pad_seconds(inputs, 4)
    padded = head.evidence(longer, head(longer, explain=True))
    for field, weights in vars(evidence).items():
        other = getattr(padded, field)
        assert (weights is None) == (other is None)
        if weights is not None:
            timed = field in (*TIMED, "patches")
            close(other[:, : weights.shape[1]] if timed else other, weights.detach().numpy())
            assert not timed or (other[:, weights.shape[1] :] == 0).all()


@pytest.mark.parametrize("name", sorted(set(heads.names()) - set(SHOWING)))
def test_the_others_have_nothing_to_show(name):
    *_, evidence = told_by(name)
    assert evidence == heads.Evidence()


@pytest.mark.parametrize("name", ["avst", "sasr"])
def test_two_streams_count_alike(name):
    _, _, told, evidence = told_by(name)
    sound, picture = told["temporal_attn_audio"], told["temporal_attn_visual"]
    close(evidence.audio_time, sound)
    close(evidence.frame_time, picture)
    close(evidence.seconds, (sound + picture) / 2)
    close(evidence.patches, told["spatial_attn"])
    assert evidence.modality is None


def test_one_stream_alone_has_its_own_seconds():
    _, _, told, evidence = told_by("avst", modalities="vq", spatial=False)
    close(evidence.seconds, told["temporal_attn_visual"])
    assert evidence.audio_time is None
    assert evidence.patches is None


def test_sasr_without_attention_has_no_seconds():
    *_, evidence = told_by("sasr", ta=False, sa=False)
    assert evidence == heads.Evidence()


def test_tjstg_shares_one_attention():
    _, _, told, evidence = told_by("tjstg")
    sound, picture = told["temporal_attn_audio"], told["temporal_attn_visual"]
    close(evidence.modality, np.stack([picture.sum(1), sound.sum(1)], 1))
    close(evidence.seconds, sound + picture)
    close(evidence.audio_time, share(sound))
    close(evidence.frame_time, share(picture))
    close(evidence.patches, told["attn_joint"])
    close(evidence.words, told["word_weights"])


def test_tjstg_with_two_attentions_has_no_shares():
    _, _, told, evidence = told_by("tjstg", stream="dual", target="avg")
    assert evidence.modality is None
    assert evidence.words is None
    close(evidence.seconds, (told["temporal_attn_audio"] + told["temporal_attn_visual"]) / 2)


def test_avaf_follows_the_words():
    _, inputs, told, evidence = told_by("avaf")
    batch, seconds, patches = inputs.patch.shape[:3]
    sound, looked = np.zeros((batch, seconds)), np.zeros((batch, seconds, patches))
    for b in range(batch):
        for n, word in enumerate(told["word_pool"][b]):
            sound[b] += word * told["word_audio_attn"][b, n]
            for t in range(seconds):
                for p in range(patches):
                    looked[b, t, p] += word * told["word_patch_attn"][b, n, t * patches + p]
    picture = looked.sum(2)
    visual, audio = told["modality_weights"].T[..., None]
    close(evidence.audio_time, sound)
    close(evidence.frame_time, picture)
    close(evidence.modality, told["modality_weights"])
    close(evidence.seconds, visual * picture + audio * sound)
    seen = inputs.valid.numpy()
    close(evidence.patches[inputs.valid], looked[seen] / picture[seen][:, None])
    close(evidence.words, told["word_pool"])


def test_avaf_without_weights_has_no_modality():
    *_, evidence = told_by("avaf", qoaf=False)
    assert evidence.modality is None
    close(evidence.seconds, (evidence.audio_time + evidence.frame_time).detach() / 2)


@pytest.mark.parametrize("aggregator", ["frames", "literal"])
def test_mcd_keeps_clue_frames(aggregator):
    # three valid seconds for four frames: the last is sampled twice
    _, inputs, told, evidence = told_by("mcd", seconds=3, num_frames=4, aggregator=aggregator)
    streams = []
    for name in ("audio", "visual"):
        found = np.zeros(inputs.valid.shape)
        for b, frames in enumerate(told[f"clue_frames_{name}"]):
            for second, score in zip(frames, told[f"clue_scores_{name}"][b], strict=True):
                found[b, second] += score
        streams.append(share(found))
    close(evidence.audio_time, streams[0])
    close(evidence.frame_time, streams[1])
    close(evidence.seconds, (streams[0] + streams[1]) / 2)
    if aggregator == "frames":
        close(evidence.words, told["word_attn"])
    else:
        assert evidence.words is None


def test_mcd_plain_network_has_nothing_to_show():
    *_, evidence = told_by("mcd", plain="qav")
    assert evidence == heads.Evidence()


def pstp_seconds(told, lengths, num_segments, size):
    """Weights of the kept segments, spread over the seconds they cover."""
    found = np.zeros((len(lengths), size))
    for b, length in enumerate(lengths):
        step = -(-length // num_segments)
        for k in told["segment_index"][b]:
            covered = range(k * step, min((k + 1) * step, length))
            for second in covered:
                found[b, second] = told["segment_weights"][b, k] / len(covered)
    return share(found)


@pytest.mark.parametrize("num_segments", [3, 5, 20])
def test_pstp_spreads_segments_over_their_seconds(num_segments):
    options = {"num_segments": num_segments, "top_k_segments": 2, "top_k_patches": 3}
    _, inputs, told, evidence = told_by("pstp", **options)
    lengths = inputs.valid.sum(1).tolist()
    close(evidence.seconds, pstp_seconds(told, lengths, num_segments, 7))
    assert evidence.audio_time is None
    assert evidence.modality is None


@pytest.mark.parametrize(
    "modules", [{}, {"use_srsm": False}, {"use_avam": False}, {"use_tssm": False}], ids=str
)
def test_pstp_patches_are_those_of_both_selections(modules):
    options = {"num_segments": 3, "top_k_segments": 2, "top_k_patches": 3} | modules
    _, inputs, told, evidence = told_by("pstp", **options)
    expected = np.zeros(inputs.patch.shape[:3])
    for b, seconds in enumerate(told["frame_seconds"]):
        for g, second in enumerate(seconds):
            if second < 0:
                continue
            if "patch_weights" in told:
                expected[b, second] += told["patch_weights"][b, g]
            if "audio_patch_attn" in told:
                kept = told["patch_index"][b, g] if "patch_index" in told else slice(None)
                expected[b, second, kept] += told["audio_patch_attn"][b, g]
    totals = expected.sum(2, keepdims=True)
    close(evidence.patches, np.divide(expected, totals, where=totals > 0, out=expected))
    assert (evidence.seconds is None) == ("use_tssm" in modules)


def test_pstp_without_selections_has_nothing_to_show():
    off = dict.fromkeys(("use_tssm", "use_srsm", "use_avam"), False)
    *_, evidence = told_by("pstp", **off)
    assert evidence == heads.Evidence()


WEIGHTS = st.lists(st.floats(0, 1e30), min_size=1, max_size=6)


@given(WEIGHTS, st.data())
def test_over_time_keeps_proportions(weights, data):
    valid = data.draw(st.lists(st.booleans(), min_size=len(weights), max_size=len(weights)))
    valid[data.draw(st.integers(0, len(weights) - 1))] = True
    found = over_time(torch.tensor([weights], dtype=torch.float64), torch.tensor([valid]))[0]
    kept = [w if v else 0.0 for w, v in zip(weights, valid, strict=True)]
    assume(sum(kept) > 1e-300)
    expected = [w / sum(kept) for w in kept]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_seconds_without_any_weight_count_alike():
    valid = torch.tensor([[True, True, False, True]])
    assert over_time(torch.zeros(1, 4), valid)[0].tolist() == pytest.approx(
        [1 / 3, 1 / 3, 0, 1 / 3]
    )


def test_patches_of_a_second_left_out_stay_zero():
    found = over_patches(torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]))
    assert found.tolist() == [[[0.25, 0.75], [0.0, 0.0]]]


def test_placed_adds_and_leaves_out():
    values = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
    index = torch.tensor([[2, 0, 2, -1]])
    assert placed(values, index, 4).tolist() == [[2.0, 0.0, 5.0, 0.0]]


def test_the_old_names_of_evidence_warn():
    seen = heads.Evidence(audio_time=torch.ones(1, 2), frame_time=torch.zeros(1, 2))
    with pytest.warns(DeprecationWarning, match=r"^Evidence.sound_time is now Evidence.audio_"):
        assert seen.sound_time is seen.audio_time
    with pytest.warns(DeprecationWarning, match=r"^Evidence.picture_time is now"):
        assert seen.picture_time is seen.frame_time
