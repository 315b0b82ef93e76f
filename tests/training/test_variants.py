"""Variants of a run: ablations with the same options, or that a setting contradicts."""

import pytest

from avqa import heads
from avqa.errors import ConfigError, UnknownName
from avqa.training.run import member_path
from avqa.training.variants import plan


def names(planned):
    return [variant.name for variant in planned.variants]


def test_a_run_has_the_head_and_the_floor():
    planned = plan("late_fusion", {"width": "16", "question": "clip"})
    assert names(planned) == ["default", "question_only"]
    floor = planned.variants[1]
    assert (floor.head, floor.options["width"], floor.options["question"]) == (
        *("question_only", 16, "clip"),
    )
    assert names(plan("question_only")) == ["default"]


def test_one_ablation():
    planned = plan("avst", ablation="a+q")
    assert names(planned) == ["default", "a+q", "question_only"]
    assert planned.variants[1].options["modalities"] == "aq"


def test_all_ablations_but_equal_ones():
    planned = plan("mcd", ablation="all")
    assert planned.same_as == dict.fromkeys(("full", "clip", "inter_both", "blocks_2"), "default")
    assert list(planned.left_out) == ["resnet18"]
    assert {*names(planned), *planned.same_as, *planned.left_out} == {
        *("default", "question_only"),
        *heads.load("mcd").ABLATIONS,
    }
    seen = [tuple(variant.options.items()) for variant in planned.variants[:-1]]
    assert len(set(seen)) == len(seen)


def test_an_ablation_of_other_features_needs_its_own_run():
    planned = plan("pstp", ablation="all")
    assert planned.left_out == {
        "no_all_resnet18": "the run has visual=clip_vit_b32; expected visual=resnet18; set it so"
    }
    assert "no_all" in names(planned)
    with pytest.raises(ConfigError, match="ablation no_all_resnet18 of pstp: the run has visual"):
        plan("pstp", ablation="no_all_resnet18")
    assert "no_all_resnet18" in names(plan("pstp", {"visual": "resnet18"}, {}, "no_all_resnet18"))


def test_rows_that_are_one_network_are_trained_once():
    planned = plan("avaf", ablation="all")
    assert planned.same_as == {
        "full": "default",
        "phi_0.000": "no_sacl",
        "phi_0.019": "default",
        "beta_0.2": "default",
    }
    assert planned.left_out == {}
    alone = plan("avaf", ablation="phi_0.000")
    assert names(alone) == ["default", "phi_0.000", "question_only"]
    assert alone.variants[1].options["phi"] == 0
    # With other videos' patches in the loss φ = 0 is no longer the network without it.
    others = plan("avaf", {"spat_batch_neg": "true"}, ablation="all")
    assert "phi_0.000" not in {*names(others), *others.same_as}
    assert others.left_out["phi_0.000"].startswith("the run has spat_batch_neg=True; expected spat")


def test_an_ablation_that_a_setting_undoes_is_none():
    with pytest.raises(ConfigError, match="the run has temporal=True; expected temporal=False"):
        plan("avst", {"temporal": "true"}, ablation="av+q")
    left_out = plan("avst", {}, {"temporal": True}, "all").left_out
    assert list(left_out) == ["q", "a+q", "v+q", "av+q"]
    assert "modalities=q with temporal=true; expected temporal=false" in left_out["q"]


def test_an_unknown_ablation():
    with pytest.raises(UnknownName, match=r"no ablation of avst 'v\+'; did you mean 'v\+q'\?"):
        plan("avst", ablation="v+")


@pytest.mark.parametrize("head", heads.names())
def test_folders_of_variants_differ(tmp_path, head):
    planned = plan(head, ablation="all")
    folders = {member_path(tmp_path, name, 3) for name in names(planned)}
    assert len(folders) == len(planned.variants)
    assert {path.name for path in folders} == {"seed-3"}
    assert {path.parents[1] for path in folders} == {tmp_path}
