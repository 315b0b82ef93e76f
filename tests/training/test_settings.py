"""Settings: the paper's values, what stands over them, and what is refused."""

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avqa import heads
from avqa.errors import ConfigError, UnknownName
from avqa.extract import encoders
from avqa.training.settings import DERIVED, LATER, TrainSettings, dataset_note, of_dataset, resolve


def complaint(*arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        resolve(*arguments, **keywords)
    return str(caught.value)


@pytest.mark.parametrize("head", heads.names())
def test_the_papers_recipe_is_the_default(head):
    recipe = heads.load(head).PAPER.recipe
    settings, options = resolve(head)
    for name in (
        "epochs",
        "batch_size",
        "learning_rate",
        "step_epochs",
        "gamma",
        "visual",
        "audio",
        "patch",
        "text",
        "beta1",
        "decay",
        "weight_decay",
    ):
        assert getattr(settings, name) == getattr(recipe, name)
    assert settings.stride_seconds == recipe.stride_seconds
    assert heads.load(head).Options(**options) == heads.load(head).Options()


def test_runs_of_before_grouped_their_batches():
    now = vars(resolve("mcd")[0])
    before = {name: value for name, value in now.items() if name not in LATER}
    assert TrainSettings.from_json(before).order == "grouped"
    assert TrainSettings.from_json(now | {"batches": "shuffled"}).order == "shuffled"
    with pytest.raises(
        ValueError, match="batches='auto'; expected shuffled, grouped or together; decide"
    ):
        _ = TrainSettings.from_json(now).order


def test_heads_that_ground_in_maps_take_them_from_resnet():
    visual = {head: resolve(head)[0].visual for head in heads.names()}
    of_resnet = {head for head, name in visual.items() if name == "resnet18"}
    assert of_resnet >= {"avst", "tjstg", "sasr"}


def test_text_stands_over_the_file_which_stands_over_the_ablation():
    given_file = {"use_tssm": True, "epochs": 7, "dropout": 0}
    settings, options = resolve("pstp", {"epochs": "5"}, given_file, "no_tssm")
    assert (settings.epochs, options["use_tssm"], options["dropout"]) == (5, True, 0.0)
    assert resolve("pstp", {}, {}, "no_tssm")[1]["use_tssm"] is False
    assert resolve("pstp", {}, {"epochs": 7})[0].epochs == 7


def test_the_papers_values_for_a_data_set_stand_under_the_ablation():
    sizes = ("num_segments", "top_k_segments", "top_k_patches")

    def chosen(*given, dataset):
        return [resolve("pstp", *given, dataset=dataset)[1][name] for name in sizes]

    assert chosen(dataset="music-avqa") == chosen(dataset=None) == [20, 7, 20]
    assert chosen(dataset="avqa") == [5, 3, 2]
    assert chosen({}, {}, "k_12_2_25", dataset="avqa") == [12, 2, 25]
    assert chosen({}, {"top_k_patches": 4}, dataset="avqa") == [5, 3, 4]
    assert resolve("tjstg", dataset="avqa")[0].stride_seconds == 1
    assert resolve("tjstg", {"stride_seconds": "2"}, dataset="avqa")[0].stride_seconds == 2


def test_text_becomes_what_the_option_is():
    assert resolve("avaf", {"alpha": "2"})[1]["alpha"] == 2.0
    assert resolve("avaf", {"alpha": "none"})[1]["alpha"] is None
    assert resolve("avaf", {"tacl": "false"})[1]["tacl"] is False
    assert resolve("avaf", {"fuse": "sum", "width": "8"})[1]["fuse"] == "sum"
    assert resolve("avaf", {"workers": "0", "learning_rate": "1e-3"})[0].learning_rate == 1e-3


def test_all_problems_are_told_at_once():
    found = complaint(
        "pstp",
        {"epoch": "3", "avf": "no", "gamma": "-1", "epochs": "1.5", "pool": "max", "zzz": "1"},
        {"batch_size": "64", "split": "random", "dropout": True, "width": 0},
    )
    assert found.startswith("settings of pstp: ")
    for part in (
        "no setting 'epoch'; did you mean 'epochs'?",
        "no setting 'zzz'; expected a setting or option of pstp",
        "avf=no; expected true or false",
        "epochs=1.5; expected a whole number",
        "batch_size='64'; expected a whole number",
        "dropout=True; expected a finite number",
        "gamma=-1.0; expected more than 0",
        "split='random'; expected one of official, video",
        "pool='max'; expected one of tokens, groups",
        "width=0; expected 1 or more",
    ):
        assert part in found
    assert "\n" not in found


def test_weights_do_not_grow_by_decay():
    assert "weight_decay=-0.1; expected 0 or more" in complaint("pstp", {"weight_decay": "-0.1"})
    assert resolve("pstp", {"weight_decay": "0.1"})[0].weight_decay == 0.1
    assert resolve("pstp")[0].weight_decay == 0
    assert "beta1=1.0; expected at least 0 and under 1" in complaint("pstp", {"beta1": "1"})


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
def test_numbers_are_finite(value):
    for key in ("learning_rate", "gamma", "dropout"):
        expected = f"{key}={value}; expected a finite number"
        assert expected in complaint("pstp", {key: value}, {})
    found = complaint("avaf", {}, {"alpha": float(value), "learning_rate": float(value)})
    assert f"alpha={float(value)}; expected a finite number" in found
    assert f"learning_rate={float(value)}; expected a finite number" in found


def test_every_encoder_is_a_choice():
    for name in (*encoders.names(), "of_the_store"):  # which is known when it is open
        settings, _ = resolve("pstp", {"visual": name, "audio": name})
        assert (settings.visual, settings.audio) == (name, name)
    assert "audio=3; expected text" in complaint("pstp", {}, {"audio": 3})


def test_what_follows_from_the_store_is_not_asked():
    for name, source in DERIVED.items():
        if name not in ("num_sources", "patch_width", "word_width", "band_width"):
            expected = f"{name} follows from {source}; expected no value; leave it out"
            assert expected in complaint("avst", {name: "4"})
    assert "num_sources follows from" in complaint("sasr", {"num_sources": "4"})
    assert "patch_width follows from" in complaint("qa_tiger", {"patch_width": "4"})
    assert "word_width follows from" in complaint("qa_tiger", {"word_width": "4"})
    assert "band_width follows from" in complaint("cuespace", {"band_width": "4"})
    assert "no setting 'num_sources'" in complaint("avst", {"num_sources": "4"})


def test_a_head_must_have_room_for_the_seconds():
    expected = "max_seconds=90 gives 90 rows with num_seconds=60; expected num_seconds=90 or more"
    assert expected in complaint("avaf", {"max_seconds": "90"})
    assert resolve("avaf", {"max_seconds": "90", "num_seconds": "90"})[0].num_rows == 90
    assert resolve("avaf", {"max_seconds": "90", "stride_seconds": "2"})[0].num_rows == 45
    official = {"variant": "official"}
    expected = (
        "max_seconds=60 gives 60 rows with stride_seconds=1; expected 10 at most; raise"
        " stride_seconds, or lower max_seconds to that of the longest video"
    )
    assert expected in complaint("sasr", official | {"stride_seconds": "1"})
    clips = official | {"stride_seconds": "1", "max_seconds": "10"}
    assert resolve("sasr", clips)[0].num_rows == 10


def test_unknown_names_have_a_neighbour():
    with pytest.raises(UnknownName, match=r"no head 'pstpp'; did you mean 'pstp'\?"):
        resolve("pstpp")
    with pytest.raises(UnknownName, match=r"no ablation of pstp 'no_tsm'; did you mean 'no_tssm'"):
        resolve("pstp", ablation="no_tsm")


@pytest.mark.parametrize("head", heads.names())
def test_settings_and_options_share_no_name_and_have_readable_types(head):
    own = get_type_hints(TrainSettings)
    options = get_type_hints(heads.load(head).Options)
    assert not own.keys() & options.keys()
    for hint in {**own, **options}.values():
        kinds = {kind for kind in (get_args(hint) or (hint,)) if kind is not type(None)}
        assert get_origin(hint) is Literal or kinds <= {int, float, bool, str}


@given(seconds=st.integers(1, 400), stride=st.integers(1, 500))
def test_rows_are_those_that_a_slice_takes(seconds, stride):
    given_values = {"max_seconds": str(seconds), "stride_seconds": str(stride)}
    settings, _ = resolve("late_fusion", given_values)
    assert settings.num_rows == len(range(0, seconds, stride))


def test_an_lstm_forgets_no_slot_where_no_paper_says_so():
    _, printed = resolve("avst", dataset="music-avqa")
    assert (printed["pack"], printed["forget_bias"]) == (False, 0.0)
    settings, own = resolve("avst", dataset="custom")
    assert (own["pack"], own["forget_bias"]) == (True, 2.0)
    assert dataset_note("avst", "custom", settings, own) == (
        "avst on custom: pack=true, forget_bias=2.0 (ours: as printed an LSTM forgets a"
        " question's first words)"
    )
    settings, chosen = resolve("avst", {"pack": "false", "forget_bias": "1"}, dataset="custom")
    assert (chosen["pack"], chosen["forget_bias"]) == (False, 1.0)
    assert dataset_note("avst", "custom", settings, chosen) is None
    settings, without = resolve("avst", {"question": "clip"}, dataset="custom")
    assert dataset_note("avst", "custom", settings, without) is None  # there is no LSTM
    _, ours = resolve("bilinear", {"question": "lstm"})
    assert (ours["pack"], ours["forget_bias"]) == (True, 2.0)


def test_an_option_with_the_name_of_a_setting_is_refused(monkeypatch):
    """A plug-in's, whose value would go to the setting alone."""

    @dataclass(frozen=True, kw_only=True)
    class Options(heads.HeadOptions):
        distance: float = 1.0

    monkeypatch.setattr(heads.load("late_fusion"), "Options", Options)
    with pytest.raises(ConfigError) as caught:
        resolve("late_fusion")
    assert str(caught.value) == (
        "head late_fusion: Options has distance, which training has a setting of; expected other"
        " names; rename them in the head"
    )


def test_runs_of_before_had_no_bias_learners():
    now = vars(resolve("avst")[0])
    old = {name: value for name, value in now.items() if name not in LATER}
    assert TrainSettings.from_json(old).debias == "none"
    assert TrainSettings.from_json(old | {"debias": "mccd", "bias_ce": 1.0}).bias == "qav"
    with pytest.raises(ValueError, match="bias_detach=True without bias learners; expected debias"):
        TrainSettings.from_json(old | {"bias_detach": True})


@pytest.mark.parametrize("head", heads.names())
def test_all_clips_of_ten_seconds_are_read_alike(head):
    module = heads.load(head)
    assert of_dataset(module, "valor32k") == of_dataset(module, "avqa")
    assert (of_dataset(module, "avqa") == {"stride_seconds": 1}) == (
        head in ("avst", "tjstg", "sasr")
    )
