"""What every encoder must keep to; a new one is tested by being there."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks, small
from safetensors.torch import save_file

from avqa.errors import ConfigError, UnknownName, WeightsUnavailable
from avqa.extract import encoders, published, weights
from avqa.extract.encoders import resnet18
from avqa.extract.encoders._parts import frozen, packed
from avqa.extract.recipe import feature_recipe, settings_from
from avqa.extract.settings import Settings, check_settings

with small.installed():
    NAMES = encoders.names()
    INPUTS = [(name, key) for name in NAMES for key in encoders.load(name).INPUTS]
    TAPS = [(name, tap) for name in NAMES for tap in encoders.load(name).TAPS]
    RUN = [name for name in NAMES if not small.is_large(name)]
    """Encoders whose forward is run here; of the large ones, that of their twins."""
RUN_INPUTS = [(name, key) for name, key in INPUTS if name in RUN]
RUN_TAPS = [(name, tap) for name, tap in TAPS if name in RUN]
CHOOSING = ("tome14", "frame@tome")
"""Taps that rest on choices between tokens: near keys may choose otherwise."""


@pytest.fixture(autouse=True, scope="module")
def twins() -> Iterator[None]:
    with small.installed():
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the engine runs forwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def options(name: str) -> dict[str, Any]:
    return dict(Settings().options_of(name))


def taps_of(name: str, key: str) -> list[str]:
    return [tap for tap, spec in encoders.load(name).TAPS.items() if spec.input == key]


def test_every_feature_is_listed() -> None:
    assert {f"{name}/{tap}" for name, tap in TAPS} == set(encoders.all_features())
    for name, tap in TAPS:
        assert encoders.split_feature(f"{name}/{tap}") == (name, tap)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_encoder_names_the_nearest(name: str) -> None:
    with pytest.raises(UnknownName, match=f"no encoder '{name}0'; did you mean '{name}'"):
        encoders.load(f"{name}0")


def test_importing_the_encoders_does_not_import_torch() -> None:
    code = (
        "import sys; from avqa.extract import encoders, weights; encoders.all_features();"
        "weights.resolve('random:0'); weights.list_weights(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_prepared_rows_have_the_declared_shape_and_type(name: str, key: str) -> None:
    module = encoders.load(name)
    spec = module.INPUTS[key]
    for rows in (1, 3):
        if spec.kind == "audio":
            seconds = np.zeros((rows, spec.window), np.float32)
        else:
            seconds = [networks.frame(320 + 2 * k, 180, seed=k) for k in range(rows)]
        prepared = module.prepare(key, seconds, options(name))
        assert prepared.shape == (rows, *spec.shape)
        assert prepared.dtype == spec.dtype


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_a_row_is_prepared_alone_as_among_others(name: str, key: str) -> None:
    module = encoders.load(name)
    seconds: Any = [networks.frame(320 + 2 * k, 180, seed=k) for k in range(5)]
    if module.INPUTS[key].kind == "audio":
        random = np.random.default_rng(0)
        seconds = random.normal(0, 0.1, (5, module.INPUTS[key].window)).astype(np.float32)
    together = module.prepare(key, seconds, options(name))
    for k in range(5):
        assert np.array_equal(
            module.prepare(key, seconds[k : k + 1], options(name))[0], together[k]
        )


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "key"), RUN_INPUTS)
def test_outputs_have_the_declared_shape_in_float32_without_gradient(
    name: str, key: str, precision: str
) -> None:
    batch = networks.full_batch(name, key)
    taps = taps_of(name, key)
    out = networks.output(name, key, precision)
    assert list(out) == taps
    for tap, values in out.items():
        assert values.shape == (len(batch), *encoders.load(name).TAPS[tap].shape)
        assert values.dtype == torch.float32
        assert values.device.type == "cpu"
        assert not values.requires_grad
        assert values.is_contiguous()
        assert torch.isfinite(values).all()


@pytest.mark.parametrize(("name", "tap"), RUN_TAPS)
def test_a_tap_alone_is_the_tap_among_others(name: str, tap: str) -> None:
    key = encoders.load(name).TAPS[tap].input
    alone = networks.network(name).forward(key, networks.full_batch(name, key), [tap])
    assert list(alone) == [tap]
    assert torch.equal(alone[tap], networks.output(name, key)[tap])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "key"), RUN_INPUTS)
def test_a_row_does_not_depend_on_its_neighbours_or_place(
    name: str, key: str, precision: str
) -> None:
    network, taps = networks.network(name, precision), taps_of(name, key)
    batch = networks.full_batch(name, key)
    rows = len(batch)
    among = networks.output(name, key, precision)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    exact = precision == "fp32"  # the rest is a matter of the network, not of its numbers
    moved = network.forward(key, batch[order], taps) if exact else None
    alone_at = {}
    for row, place in ((rows - 1, 0), (3, rows - 1))[: 2 if exact else 1]:
        lonely = torch.zeros_like(batch)
        lonely[place] = batch[row]
        alone_at[row] = {t: v[place] for t, v in network.forward(key, lonely, taps).items()}
    for tap in taps:
        if moved is not None:
            assert torch.equal(moved[tap], among[tap][order]), f"{tap}: another place"
        for row, alone in alone_at.items():
            assert torch.equal(alone[tap], among[tap][row]), f"{tap}: row {row} alone"


@pytest.mark.parametrize("name", RUN)
def test_a_forward_repeats_bit_for_bit_and_leaves_its_input_alone(name: str) -> None:
    key = next(iter(encoders.load(name).INPUTS))
    batch = networks.full_batch(name, key)
    kept = batch.clone()
    again = networks.network(name).forward(key, batch, taps_of(name, key))
    assert torch.equal(batch, kept)
    for tap, values in again.items():
        assert torch.equal(values, networks.output(name, key)[tap])


def tolerance(values: torch.Tensor) -> float:
    """One step where a tap is rounded to whole numbers, else 1e-5 of the largest."""
    rounded = bool((values == values.round()).all())
    return 1.0 if rounded else 1e-5 * float(values.abs().max())


@pytest.mark.parametrize(("name", "key"), RUN_INPUTS)
def test_bf16_stays_near_fp32(name: str, key: str) -> None:
    exact, fast = networks.output(name, key), networks.output(name, key, "bf16")
    for tap, values in exact.items():
        if tolerance(values) < 1 and tap not in CHOOSING:  # for quantised ones near is no word
            error = (fast[tap] - values).norm() / values.norm()
            assert 0 <= error < 0.03, f"{tap}: {error:.4f}"


@pytest.mark.parametrize(("name", "key"), RUN_INPUTS)
def test_without_onednn_the_same_numbers_come(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, taps = networks.full_batch(name, key), taps_of(name, key)
    fast = networks.output(name, key)
    monkeypatch.setattr(packed, "can_pack", lambda weight: False)
    plain = networks.built(name, networks.state(name))
    for tap, values in plain.forward(key, batch, taps).items():
        assert float((values - fast[tap]).abs().max()) <= tolerance(fast[tap]), tap


@pytest.mark.parametrize("name", RUN)
def test_building_leaves_the_given_weights_as_they_were(name: str) -> None:
    given = networks.state(name)
    before = digests(given)
    networks.built(name, given, "bf16")
    assert digests(given) == before


def digests(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """In place of a copy: with the network beside it that would be gigabytes."""
    return {
        key: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for key, tensor in state.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_another_network_are_refused(name: str, tmp_path: Path) -> None:
    wanted = tuple(encoders.load(name).WEIGHTS)
    for weights_name in wanted:
        save_file({"strange": torch.zeros(1)}, tmp_path / f"{weights_name}.safetensors")
    source = weights.resolve(str(tmp_path), wanted)
    for weights_name in wanted[:1]:
        with pytest.raises(WeightsUnavailable, match=f"weights {weights_name} do not fit: .*; exp"):
            weights.load_state(name, source)


def test_a_module_is_filled_with_what_fits_it_alone() -> None:
    with torch.device("meta"):
        module = torch.nn.Linear(2, 1)
    with pytest.raises(WeightsUnavailable) as caught:
        frozen.fill(module, {"weight": torch.ones(1, 2)}, "linear")
    assert str(caught.value) == (
        "weights of linear do not fit: bias=nothing; expected (1,); import the file again"
    )
    filled = frozen.fill(module, {"weight": torch.ones(1, 2), "bias": torch.ones(1)}, "linear")
    assert filled(torch.ones(2)).item() == 3


@pytest.mark.parametrize(("name", "tap"), TAPS)
def test_an_option_is_part_of_the_recipe_and_found_there_again(name: str, tap: str) -> None:
    feature, source = f"{name}/{tap}", weights.resolve("random:0")
    for key, option in encoders.load(name).OPTIONS.items():
        hashes = set()
        for choice in option.choices:
            settings = check_settings(
                Settings(features=(feature,), options={f"{name}.{key}": choice}, weights="random:0")
            )
            recipe = feature_recipe(feature, settings, source, "1.0")
            assert recipe["encoder"][key] == choice
            assert type(recipe["encoder"][key]) is type(option.default)
            assert check_settings(settings_from({feature: recipe})).options == settings.options
            hashes.add(json.dumps(recipe))
        assert len(hashes) == len(option.choices)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_taps_share_a_recipe(name: str) -> None:
    module = encoders.load(name)
    recipes = [json.dumps(module.recipe(tap)) for tap in module.TAPS]
    assert len(set(recipes)) == len(recipes)


@pytest.mark.parametrize("name", RUN)
def test_weights_are_all_needed_and_one_set_has_the_shapes_of_its_random_ones(name: str) -> None:
    module = encoders.load(name)
    needed = {n for tap in module.TAPS for n in encoders.weights_of([f"{name}/{tap}"])}
    assert needed == set(module.WEIGHTS)
    shapes = {key: tuple(tensor.shape) for key, tensor in networks.state(name).items()}
    declared = [published.expected_shapes(weights_name) for weights_name in module.WEIGHTS]
    assert shapes == {key: shape for part in declared for key, shape in part.items()}
    for entry in module.WEIGHTS.values():
        assert entry.address.startswith("https://")
        assert len(entry.digest) in range(8, 65) or not entry.digest
        assert entry.licence


def test_settings_travel() -> None:
    settings = Settings(options={"encoder.option": 1.0})
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert hash(settings) == hash(Settings())


def test_freeze_means_evaluation_and_no_gradient() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    frozen.freeze(module, "cpu", "bf16")
    assert not any(part.training for part in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        frozen.freeze(torch.nn.Linear(1, 1), "cuda", "fp32")
    assert str(caught.value) == (
        "device='cuda' cannot be used: torch finds no CUDA device; expected one; use --device cpu"
    )


def described(network: torch.nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", ["clip_vit_b32", "clip_vit_l14", "clip_vit_l14_336", "small_clip"])
def test_places_for_clips_weights_are_open_clips_own(name: str) -> None:
    clip = encoders.load(name).CLIP  # type: ignore[attr-defined]
    with torch.device("meta"):
        visual, text = described(clip.visual_places()), described(clip.text_places())
        ours = {f"visual.{key}": value for key, value in visual.items()} | text
        assert ours == described(clip.architecture())


def test_places_for_weights_are_the_libraries_own() -> None:
    """Names, shapes and types, as timm and torchvision have them."""
    with torch.device("meta"):
        assert described(resnet18._places()) == described(resnet18.architecture())
        vit = encoders.load("vit_l16_384").VIT  # type: ignore[attr-defined]
        assert described(vit.places()) == described(vit.architecture())
