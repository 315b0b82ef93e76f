"""AST from audio to rows, beside transformers: its weights file, its filters, its network."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks, small
from numpy.typing import NDArray

from avqa.extract import encoders, weights

MEAN, DEVIATION = -4.2677393, 4.5689974
NOTHING_HEARD = "ignore:At least one mel filter has all zero values"
"""Of the lowest bands, narrower than a bin, in Kaldi as well."""


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def model(transformers: Any) -> Any:
    """As `small_ast`, every parameter of its own."""
    config = transformers.ASTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = transformers.ASTForAudioClassification(config).eval()
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return made


@functools.cache
def seconds() -> NDArray[np.float32]:
    """Four of 16 bits: a tone, noise, a second loud enough to be cut, silence."""
    random, time = np.random.default_rng(0), np.arange(16000) / 16000
    tone, noise = 0.3 * np.sin(2 * np.pi * 440 * time), random.normal(0, 0.05, 16000)
    whole = np.stack([tone, noise, 1.5 * np.sin(2 * np.pi * 97 * time), 0 * time]) * 32768
    return (np.clip(np.round(whole), -32768, 32767) / 32768).astype(np.float32)


def heard(transformers: Any) -> torch.Tensor:
    """What the hub's feature extractor makes of each second: [4, 1024, 128], normalised."""
    listen = transformers.ASTFeatureExtractor()
    made = listen([*seconds()], sampling_rate=16000, return_tensors="pt")["input_values"]
    assert made.shape == (4, 1024, 128)
    return torch.as_tensor(made)


@pytest.mark.filterwarnings(NOTHING_HEARD)
def test_the_spectrogram_is_that_of_its_feature_extractor(transformers: Any) -> None:
    ours = encoders.load("ast").prepare("mel", seconds(), {})
    theirs = heard(transformers).numpy() * (2 * DEVIATION) + MEAN
    np.testing.assert_allclose(ours, theirs[:, :98], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theirs[:, 98:], 0, atol=1e-5)


@pytest.mark.filterwarnings(NOTHING_HEARD)
def test_rows_are_those_of_its_network_with_the_weights_that_it_writes(
    transformers: Any, model: Any, tmp_path: Path
) -> None:
    """From the file that `save_pretrained` writes, named as the published one, to the taps."""
    model.save_pretrained(tmp_path)
    with small.installed():
        weights.import_file("small_ast", tmp_path / "model.safetensors", cache=tmp_path / "cache")
        source = weights.resolve(str(tmp_path / "cache"), ["small_ast"])
        network = networks.built("small_ast", weights.load_state("small_ast", source))
        mel = torch.from_numpy(encoders.load("small_ast").prepare("mel", seconds(), {}))
        out = network.forward("mel", mel, ["class", "band", "band10"])
    trunk, kept = model.audio_spectrogram_transformer, []
    # Never hidden_states[-1]: that is before the norm in some versions and behind it in others.
    hook = trunk.layernorm.register_forward_pre_hook(lambda _m, given: kept.append(given[0]))
    with torch.no_grad():
        normed = trunk(heard(transformers)).last_hidden_state
    hook.remove()
    (last,) = kept
    close = functools.partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
    close(trunk.layernorm(last), normed)
    close(out["class"], (last[:, 0] + last[:, 1]) / 2)
    close(out["band"], last[:, 2:].reshape(4, 12, 101, 48).mean(2))
    close(out["band10"], normed[:, 2:].reshape(4, 12, 101, 48)[:, :, :10].mean(2))
    apart = float(out["class"].std(0).mean())
    assert apart > 0.01, "a hundred times what may differ"
