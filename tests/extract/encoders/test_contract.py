"""What every encoder must keep to; a new one is tested by being there."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks

from avqa.errors import ConfigError, UnknownName, WeightsUnavailable
from avqa.extract import encoders
from avqa.extract.encoders import _frozen, _packed
from avqa.extract.settings import Settings

NAMES = encoders.names()
INPUTS = [(name, key) for name in NAMES for key in encoders.load(name).INPUTS]
TAPS = [(name, tap) for name in NAMES for tap in encoders.load(name).TAPS]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the engine runs forwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def taps_of(name: str, key: str) -> list[str]:
    return [tap for tap, spec in encoders.load(name).TAPS.items() if spec.input == key]


def test_all_three_are_found_and_listed() -> None:
    assert NAMES == ["clip_vit_b32", "resnet18", "vggish"]
    assert "resnet18/map7" in encoders.all_features()


def test_an_unknown_encoder_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="no encoder 'resnet8'; did you mean 'resnet18'"):
        encoders.load("resnet8")


def test_importing_the_encoders_does_not_import_torch() -> None:
    code = (
        "import sys; from avqa.extract import encoders, weights; encoders.all_features();"
        "weights.resolve('random:0'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_names_of_dimensions_have_one_size_and_are_no_arrays(name: str) -> None:
    sizes: dict[str, int] = {}
    for tap in encoders.load(name).TAPS.values():
        assert len(tap.dims) == len(tap.shape) == len(set(tap.dims))
        for dim, size in zip(tap.dims, tap.shape, strict=True):
            assert sizes.setdefault(dim, size) == size
            assert dim not in encoders.load(name).TAPS


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_prepared_rows_have_the_declared_shape_and_type(name: str, key: str) -> None:
    module = encoders.load(name)
    spec = module.INPUTS[key]
    for rows in (0, 1, 3):
        if spec.kind == "sound":
            seconds = np.zeros((rows, spec.window), np.float32)
        else:
            seconds = [networks.picture(320 + 2 * k, 180, seed=k) for k in range(rows)]
        prepared = module.prepare(key, seconds, Settings())
        assert prepared.shape == (rows, *spec.shape)
        assert prepared.dtype == spec.dtype


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_a_row_is_prepared_alone_as_among_others(name: str, key: str) -> None:
    module = encoders.load(name)
    seconds: Any = [networks.picture(320 + 2 * k, 180, seed=k) for k in range(5)]
    if module.INPUTS[key].kind == "sound":
        random = np.random.default_rng(0)
        seconds = random.normal(0, 0.1, (5, module.INPUTS[key].window)).astype(np.float32)
    together = module.prepare(key, seconds, Settings())
    for k in range(5):
        assert np.array_equal(module.prepare(key, seconds[k : k + 1], Settings())[0], together[k])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "key"), INPUTS)
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


@pytest.mark.parametrize(("name", "tap"), TAPS)
def test_a_tap_alone_is_the_tap_among_others(name: str, tap: str) -> None:
    key = encoders.load(name).TAPS[tap].input
    alone = networks.network(name).forward(key, networks.full_batch(name, key), [tap])
    assert list(alone) == [tap]
    assert torch.equal(alone[tap], networks.output(name, key)[tap])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_a_row_does_not_depend_on_its_neighbours_or_place(
    name: str, key: str, precision: str
) -> None:
    network, taps = networks.network(name, precision), taps_of(name, key)
    batch = networks.full_batch(name, key)
    rows = len(batch)
    among = networks.output(name, key, precision)
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(1))
    moved = network.forward(key, batch[order], taps)
    alone_at = {}
    for row, place in ((rows - 1, 0), (3, rows - 1)):
        lonely = torch.zeros_like(batch)
        lonely[place] = batch[row]
        alone_at[row] = {t: v[place] for t, v in network.forward(key, lonely, taps).items()}
    for tap in taps:
        assert torch.equal(moved[tap], among[tap][order]), f"{tap}: another place"
        for row, alone in alone_at.items():
            assert torch.equal(alone[tap], among[tap][row]), f"{tap}: row {row} alone"


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_repeats_bit_for_bit_and_leaves_its_input_alone(name: str) -> None:
    key = next(iter(encoders.load(name).INPUTS))
    batch = networks.full_batch(name, key)
    kept = batch.clone()
    again = networks.network(name).forward(key, batch, taps_of(name, key))
    assert torch.equal(batch, kept)
    for tap, values in again.items():
        assert torch.equal(values, networks.output(name, key)[tap])


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_bf16_stays_near_fp32(name: str, key: str) -> None:
    exact, fast = networks.output(name, key), networks.output(name, key, "bf16")
    for tap in exact.keys() - {"audio_pca8"}:  # quantised to 8 bit: near is no word for it
        error = (fast[tap] - exact[tap]).norm() / exact[tap].norm()
        assert 0 < error < 0.03, f"{tap}: {error:.4f}"


@pytest.mark.parametrize(("name", "key"), INPUTS)
def test_without_onednn_the_same_numbers_come(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, taps = networks.full_batch(name, key), taps_of(name, key)
    packed = networks.output(name, key)
    monkeypatch.setattr(_packed, "can_pack", lambda weight: False)
    plain = encoders.load(name).build(Settings(), networks.state(name))
    for tap, values in plain.forward(key, batch, taps).items():
        tolerance = 1.0 if tap == "audio_pca8" else 1e-5 * float(packed[tap].abs().max())
        assert float((values - packed[tap]).abs().max()) <= tolerance, tap


@pytest.mark.parametrize("name", NAMES)
def test_building_leaves_the_given_weights_as_they_were(name: str) -> None:
    given = {key: tensor.clone() for key, tensor in networks.state(name).items()}
    encoders.load(name).build(Settings(precision="bf16"), given)
    for key, tensor in networks.state(name).items():
        assert torch.equal(given[key], tensor), key


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_do_not_fit_are_refused(name: str) -> None:
    lacking = dict(networks.state(name))
    key = next(k for k in lacking if k.endswith("weight") and k.startswith(("visual", "conv", "f")))
    del lacking[key]
    with pytest.raises(
        WeightsUnavailable, match=f"weights of {name} do not fit: .*=None; expected"
    ):
        encoders.load(name).build(Settings(), lacking)


@pytest.mark.parametrize(("name", "tap"), TAPS)
def test_a_recipe_is_plain_data_that_knows_what_matters_to_it(name: str, tap: str) -> None:
    module, default = encoders.load(name), Settings()
    recipe = module.recipe(tap, default)
    assert json.loads(json.dumps(recipe)) == recipe
    changed = {
        "clip_crop": replace(default, clip_crop="pad"),
        "resample": replace(default, resample="nearest44k"),
        "audio_hop": replace(default, audio_hop=0.96),
    }
    relevant = {"clip_vit_b32": {"clip_crop"}, "vggish": {"resample", "audio_hop"}}
    found = {key for key, other in changed.items() if module.recipe(tap, other) != recipe}
    assert found == relevant.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_no_two_taps_share_a_recipe(name: str) -> None:
    module = encoders.load(name)
    recipes = [json.dumps(module.recipe(tap, Settings())) for tap in module.TAPS]
    assert len(set(recipes)) == len(recipes)


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_batch_are_declared(name: str) -> None:
    module = encoders.load(name)
    assert set(module.BATCH) == {"cpu", "cuda"}
    assert set(module.WEIGHTS_OF) == set(module.TAPS)
    assert set().union(*module.WEIGHTS_OF.values()) == set(module.WEIGHTS)


def test_settings_travel() -> None:
    settings = Settings(clip_crop="pad")
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_freeze_means_evaluation_and_no_gradient() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    _frozen.freeze(module, "cpu", "bf16")
    assert not any(part.training for part in module.modules())
    assert not any(p.requires_grad for p in module.parameters())
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        encoders.load("vggish").build(Settings(device="cuda"), networks.state("vggish"))
    assert str(caught.value) == (
        "device='cuda' cannot be used: torch finds no CUDA device; expected one; use --device cpu"
    )
