"""A file that breaks the contract of encoders: one line says where, what and which page."""

from __future__ import annotations

import re

import pytest
from helpers.extraction import dropped
from typer.testing import CliRunner

from avqa.cli import app
from avqa.errors import PluginError
from avqa.extract import encoders, weights
from avqa.extract.recipe import feature_recipe, settings_from
from avqa.extract.settings import Settings
from avqa.plugins import PAGE

BROKEN = {
    "no_batch": (r"BATCH = .*\n", "", "BATCH is missing; expected BATCH: Mapping[str, int]"),
    "no_build": (r"def build\(", "def built(", "build is missing; expected build(state, options,"),
    "old_prepare": (
        r"seconds, options\)",
        "seconds, settings)",
        "prepare(name, seconds, settings) takes other arguments; expected prepare(name, seconds,",
    ),
    "list_of_taps": (r"TAPS = {[^}]*}", "TAPS = ['mean']", "TAPS is a list; expected TAPS: Map"),
    "no_taps": (r"TAPS = {[^}]*}", "TAPS = {}", "TAPS is empty; expected one tap or more"),
    "bare_tap": (r'"mean": Tap.*', '"mean": (8,),', "TAPS['mean'] is a tuple; expected Tap"),
    "batch_of_cpu": (
        r', "cuda": 128',
        "",
        "BATCH={'cpu': 16}; expected rows per forward of cpu and of cuda",
    ),
    "no_input": (
        r'"mean": Tap\("small"',
        '"mean": Tap("tiny"',
        "TAPS['mean'] has input='tiny'; expected one of INPUTS: small, quarters",
    ),
    "dims": (
        r'\("cell", "channel"\)',
        '("channel",)',
        "TAPS['cells'] has shape=(15, 8) dims=('channel',); expected a name for each axis",
    ),
    "two_sizes": (
        r'\("quarter",\)',
        '("channel",)',
        "TAPS['loudness'] has dims=('channel',); expected names that are no taps, with one size",
    ),
    "weights": (
        r'\("quarter",\), sparse=False',
        '("quarter",), False, ("loud",)',
        "TAPS['loudness'] has weights=('loud',); expected names of WEIGHTS",
    ),
    "default": (
        r'Option\("red"',
        'Option("grey"',
        "OPTIONS['colour'] has default='grey'; expected one of its choices",
    ),
    "window": (
        r", window=16_000",
        "",
        "INPUTS['quarters'] has window=0; expected the samples of one row",
    ),
    "hop": (
        r"window=16_000",
        "window=16_000, hop='step'",
        "INPUTS['quarters'] has hop='step'; expected the name of an option of seconds",
    ),
    "hop_of_words": (
        r"window=16_000",
        "window=16_000, hop='colour'",
        "INPUTS['quarters'] has hop='colour'; expected the name of an option of seconds",
    ),
    "kind": (r'"frame", \(ROWS', '"image", (ROWS', "INPUTS['small'] has kind='image'; expected"),
    "dtype": (r'"uint8"\)', '"int8")', "INPUTS['small'] has dtype='int8'; expected one of uint8,"),
    "no_recipe": (
        r'"cells": "cells row-major", ',
        "",
        "TAPS['cells'] has no recipe (KeyError: 'cells'); expected one for each tap",
    ),
    "recipe_key": (
        r'"network": "coarse 1"',
        '"colour": "red"',
        "has recipe keys colour; expected others: options are added to it",
    ),
    "recipe_value": (
        r'"network": "coarse 1"',
        '"network": np.ones(1)',
        "has recipe={'network': array([1.]), 'tap': 'mean of cells'}; expected keys with values",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_break_of_the_contract_is_told(name, tmp_path):
    pattern, put, message = BROKEN[name]
    text, count = re.subn(pattern, put, dropped.source(), count=1)
    assert count
    with dropped.dropped_in(tmp_path, text), pytest.raises(PluginError) as caught:
        encoders.load(dropped.NAME)
    told = str(caught.value)
    assert told.startswith(f"encoder 'coarse' ({tmp_path / 'coarse.py'}): ")
    assert message in told
    assert told.endswith(f"; see {PAGE}")
    assert "\n" not in told


def test_the_command_line_ends_in_that_line(tmp_path):
    text = re.sub(r"BATCH = .*\n", "", dropped.source())
    with dropped.dropped_in(tmp_path, text):
        (tmp_path / "a.mp4").touch()
        line = ["extract", "--videos", tmp_path, "--out", tmp_path / "S"]
        done = CliRunner().invoke(app, [*map(str, line), "--features", "coarse/mean"])
        listed = CliRunner().invoke(app, ["encoders"])
    told = (
        f"encoder 'coarse' ({tmp_path / 'coarse.py'}): BATCH is missing; expected BATCH:"
        f" Mapping[str, int]; see {PAGE}\n"
    )
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"avqa: {told}")
    assert listed.exit_code == 0
    assert f"coarse                          not usable: {told}" in listed.stdout
    assert "vggish/audio " in listed.stdout


def test_a_broken_encoder_stops_no_one_who_does_not_use_it(tmp_path):
    with dropped.dropped_in(tmp_path, "WEIGHTS = 1"):
        settings = Settings(features=("resnet18/pool",), weights="random:0")
        source = weights.resolve("random:0", encoders.weights_of(["resnet18/pool"]))
        recipe = feature_recipe("resnet18/pool", settings, source, "1.0")
        assert settings_from({"resnet18/pool": recipe}) == settings


def test_an_encoder_without_weights_needs_none(tmp_path, monkeypatch):
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path / "empty"))
    text = re.sub(r"WEIGHTS = {.*?\n}\n", "WEIGHTS = {}\n", dropped.source(), flags=re.DOTALL)
    with dropped.dropped_in(tmp_path, text):
        source = weights.resolve("pretrained", encoders.weights_of(["coarse/cells"]))
        assert weights.load_state("coarse", source) == {}
        settings = Settings(features=("coarse/cells",), options={"coarse.colour": "blue"})
        recipe = feature_recipe("coarse/cells", settings, source, "1.0")
        assert recipe["weights"] == {}
        assert settings_from({"coarse/cells": recipe}) == settings
