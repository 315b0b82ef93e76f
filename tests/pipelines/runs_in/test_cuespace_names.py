"""CueSpace's published names: every tensor, every answer, what is left out."""

import pytest
import torch
from helpers.heads.cue_release import BESIDE, exported

from avqa import heads
from avqa.datasets._parts.vocabulary import ANSWERS
from avqa.errors import ConfigError
from avqa.pipelines.runs_in.names import convert

RELEASED = heads.load("cuespace").PAPER.released
ORDER = RELEASED.answers["music-avqa"]
SMALL = {"width": 16, "experts": 3, "audio_width": 4, "visual_width": 8, "patch_width": 8}
SMALL |= {"band_width": 5, "text_width": 8, "word_width": 8}


def built(**options):
    torch.manual_seed(0)
    head = heads.build("cuespace", **options)
    with torch.no_grad():
        for weights in head.parameters():
            weights.add_(torch.randn_like(weights) * 0.3)
    return head.eval()


@pytest.fixture(scope="module")
def head():
    return built(**SMALL)


def test_every_tensor_is_taken_and_what_is_of_no_head_left_out(head):
    found = convert("f", exported(head, ANSWERS, ORDER), head, "music-avqa", ANSWERS)
    own = head.state_dict()
    assert found.state.keys() == own.keys()
    for name, tensor in own.items():
        assert torch.equal(found.state[name], tensor), name
    assert sum(found.left_out.values()) == len(BESIDE)
    assert found.left_out["head"] == 2
    assert found.left_out["shared_expert_proj"] == 1
    assert found.left_out["vt_aggregator_av.gauss_pred"] == 1


def test_as_many_numbers_as_held():
    with torch.device("meta"):
        head = heads.build("cuespace")
    state = {
        name: torch.zeros(1).expand(tensor.shape)
        for name, tensor in exported(head, ANSWERS, ORDER).items()
    }
    assert state["at_aggregator.experts.6.0.weight"].shape == (256, 512)
    assert state["ple_comp_mem_head.groups.2.cross_attns.2.in_proj_bias"].shape == (1536,)
    found = convert("f", state, head, "music-avqa", ANSWERS)
    assert sum(tensor.numel() for tensor in found.state.values()) == 38_548_295


def test_every_answer_keeps_its_row(head):
    state = exported(head, ANSWERS, ORDER)
    for place, answer in enumerate(ORDER):
        bias = torch.zeros(42)
        bias[place] = 9.0
        changed = state | {"ple_comp_mem_head.head.bias": bias}
        found = convert("f", changed, head, "music-avqa", ANSWERS).state["answer.bias"]
        assert ANSWERS[int(found.argmax())] == answer


def test_the_other_heads_file_is_named(head):
    tiger = heads.build("qa_tiger", width=16)
    with pytest.raises(ConfigError, match=r"it has names of cuespace: give that as --head"):
        convert("f", {"ot_align_audio.norm.bias": torch.ones(1)}, tiger, "music-avqa", ANSWERS)
    state = exported(head, ANSWERS, ORDER) | {"x.y": torch.ones(1)}
    with pytest.raises(ConfigError, match=r"also has x.y; expected the names of cuespace with"):
        convert("f", state, head, "music-avqa", ANSWERS)
