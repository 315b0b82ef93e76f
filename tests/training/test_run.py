"""A run's folder: what is written is read again, and nothing else is."""

import dataclasses
import json
import pickle

import pytest
import torch
from helpers.runs import run_folders
from safetensors.torch import save

from avqa import heads
from avqa.datasets._parts.floors import Score
from avqa.errors import ConfigError
from avqa.training.run import Member, MemberResult, Run, member_path

RESULT = MemberResult(
    best_epoch=2,
    val_accuracy=0.5,
    epochs=3,
    seconds=1.5,
    waiting=0.25,
    scores={"A-Count": Score(1, 4), "All": Score(3, 8)},
    parameters=17,
)


@pytest.fixture
def member(tmp_path):
    """A finished member of late fusion."""
    made = run_folders.write_member(tmp_path / "run", run_folders.config("late_fusion"))
    made.save_result(RESULT)
    run_folders.forget_digests(made)
    return made


def test_config_and_result_survive(member):
    again = Member.load(member.path)
    assert again.config == member.config
    assert again.config.settings == member.config.settings
    assert again.result == RESULT
    assert again.result.scores["All"].percent == 37.5


def test_the_two_files_alone_make_the_head_again(member, tmp_path):
    head = heads.build("late_fusion", **member.config.options)
    member.save_head(head)
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("config.json", "model.safetensors"):
        (alone / name).write_bytes((member.path / name).read_bytes())
    again = Member.load(alone).load_head()
    assert not again.training
    inputs = heads.random_input(head, batch=2, seconds=3, patches=2)
    assert torch.equal(again(inputs).logits, head.eval()(inputs).logits)


def refusal(member):
    with pytest.raises(ConfigError) as caught:
        member.load_head()
    return str(caught.value)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


def test_a_pickle_is_refused_unread(member):
    model = member.path / "model.safetensors"
    model.write_bytes(pickle.dumps(Trap()))
    assert "is a pickle, which may run code, and is not read; expected a safetensors" in refusal(
        member
    )
    torch.save({"hidden.weight": torch.zeros(3)}, model)
    assert "is a pickle" in refusal(member)


def test_damaged_and_missing_weights_are_refused(member):
    model = member.path / "model.safetensors"
    model.write_bytes(model.read_bytes()[:50])
    found = refusal(member)
    assert "expected a safetensors file as `avqa train-head` writes it" in found
    assert "pickle" not in found
    model.unlink()
    assert "; expected that of a finished member; have it made again by the same" in refusal(member)


def test_weights_of_another_head_are_refused(member):
    of_other = dataclasses.replace(member.config, head="question_only")
    other = heads.build("question_only", width=8)
    Member(member.path, of_other).save_head(other)
    expected = "are of head 'question_only'; expected 'late_fusion', as config.json beside it says"
    assert expected in refusal(member)


def test_weights_of_other_shapes_are_refused(member):
    wide = heads.build("late_fusion", **{**member.config.options, "width": 16})
    member.save_head(wide)
    assert (
        "is (42, 16); expected (42, 8) in head late_fusion with the options of config.json"
        in refusal(member)
    )
    state = heads.build("late_fusion", **member.config.options).state_dict()
    state.pop(sorted(state)[0])
    (member.path / "model.safetensors").write_bytes(save(state, {"head": "late_fusion"}))
    assert "is absent; expected (" in refusal(member)


def change(path, **values):
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8"
    )


def test_a_config_of_before_other_encoders_of_sound_is_read(member):
    config = json.loads((member.path / "config.json").read_text(encoding="utf-8"))
    assert config["settings"].pop("audio") == "vggish"
    (member.path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert Member.load(member.path).config == member.config


def test_an_encoder_that_is_not_here_is_not_needed(member):
    settings = json.loads((member.path / "config.json").read_text(encoding="utf-8"))["settings"]
    change(member.path / "config.json", settings={**settings, "visual": "other"})
    assert Member.load(member.path).config.settings.visual == "other"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"settings": {"epochs": 3}}, "missing 6 required keyword-only arguments"),
        ({"settings": 7}, "cannot be used: "),
        ({"extra": 1}, "unexpected keyword argument 'extra'"),
    ],
)
def test_a_strange_config_is_refused(member, values, message):
    change(member.path / "config.json", **values)
    with pytest.raises(ConfigError, match=message):
        Member.load(member.path)


def test_options_of_no_head_are_refused(member):
    change(member.path / "config.json", options={**member.config.options, "width": 0})
    assert "width=0; expected 1 or more; expected options of late_fusion" in refusal(
        Member.load(member.path)
    )


def test_a_run_lists_its_finished_members_in_order(tmp_path):
    root = tmp_path / "run"
    for variant in ("question_only", "w/o slt", "default"):
        for seed in (1, 0):
            of = run_folders.config("late_fusion", variant=variant, seed=seed)
            run_folders.write_member(root, of)
    about = {"variants": ["default", "w/o slt", "question_only"], "seeds": 3}
    (root / "run.json").write_text(json.dumps(about), encoding="utf-8")
    (member_path(root, "default", 0) / "result.json").unlink()
    run = Run.load(root)
    assert [(m.config.variant, m.config.seed) for m in run.members] == [
        *(("default", 1), ("w/o slt", 0), ("w/o slt", 1)),
        *(("question_only", 0), ("question_only", 1)),
    ]
    assert run.about == about
    assert [m.config.seed for m in run.of_variant("w/o slt")] == [0, 1]


def test_one_member_is_a_run_of_its_own(member):
    root = member.path.parents[1]
    (root / "run.json").write_text(json.dumps({"notes": ["said"]}), encoding="utf-8")
    run = Run.load(member.path)
    assert [m.path for m in run.members] == [member.path]
    assert run.about == {"notes": ["said"]}


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "no run.json in .*; expected a folder of `avqa train-head`"),
        (
            lambda root: (root / "run.json").write_text(
                '{"variants": ["default"], "seeds": 1}', encoding="utf-8"
            ),
            "nothing is trained to its end; expected a finished member; finish it with the same",
        ),
        (
            lambda root: (root / "run.json").write_text("{", encoding="utf-8"),
            "run.json' cannot be used",
        ),
        (
            lambda root: (root / "run.json").write_text("[]", encoding="utf-8"),
            "expected a JSON object",
        ),
    ],
)
def test_what_is_no_run_is_refused(tmp_path, prepare, message):
    prepare(tmp_path)
    with pytest.raises(ConfigError, match=message):
        Run.load(tmp_path)
