"""AST against torch's own transformer layers, and its spectrogram against one made in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks, small
from safetensors.torch import save_file

from avqa.extract import encoders
from avqa.extract.encoders import ast

SILENCE = math.log(2.0**-23)


def triangles() -> list[list[float]]:
    """Weight of every bin in every band, as Kaldi's pages say it."""

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    width = (mel(8000) - mel(20)) / 129
    edges = [mel(20) + width * number for number in range(130)]
    bins = [mel(number * 16000 / 512) for number in range(257)]
    return [
        [max(0.0, min((m - low) / width, (low + 2 * width - m) / width)) for m in bins]
        for low in edges[:-2]
    ]


def of_frame(samples: Any, frame: int) -> list[float]:
    """Log-mel of one frame of a second."""
    values = samples[160 * frame : 160 * frame + 400].astype(np.float64)
    values = values - values.mean()
    emphasised = [values[i] - 0.97 * values[max(i - 1, 0)] for i in range(400)]
    window = [0.5 - 0.5 * math.cos(2 * math.pi * i / 399) for i in range(400)]
    power = np.abs(np.fft.rfft(np.multiply(emphasised, window), 512)) ** 2
    return [math.log(max(2.0**-23, float(np.dot(w, power)))) for w in triangles()]


def test_the_spectrogram_is_kaldis() -> None:
    random = np.random.default_rng(0)
    tone = 0.3 * np.sin(2 * np.pi * 440 / 16000 * np.arange(16000))
    seconds = np.stack([tone, random.normal(0, 0.05, 16000), np.zeros(16000)]).astype(np.float32)
    ours = ast.prepare("mel", seconds, {})
    assert ours.shape == (3, 98, 128)
    for row in range(3):
        of_16_bits = np.round(seconds[row].astype(np.float64) * 32768) / 32768
        for frame in (0, 61, 97):
            expected = of_frame(of_16_bits, frame)
            np.testing.assert_allclose(ours[row, frame], expected, rtol=1e-5, atol=1e-4)
    assert ours[2].max() == pytest.approx(SILENCE)


def reference(state: Any, mel: torch.Tensor, *, width: int, layers: int, heads: int) -> Any:
    """Tokens behind the last layer, by torch's own layers."""
    padded = torch.zeros(len(mel), 1024, 128)
    padded[:, :98] = mel
    x = (padded + 4.2677393) / (2 * 4.5689974)
    assert float(x[0, 98, 0]) == pytest.approx(0.4670, abs=1e-4)  # of what is padded
    own = "embeddings."
    kernel = state[own + "patch_embeddings.projection.weight"]
    patches = torch.nn.functional.conv2d(
        x.transpose(1, 2)[:, None], kernel, state[own + "patch_embeddings.projection.bias"], 10
    )
    assert patches.shape[2:] == (12, 101)
    tokens = patches.flatten(2).transpose(1, 2)  # index = band · 101 + time
    first = [state[own + k].expand(len(mel), -1, -1) for k in ("cls_token", "distillation_token")]
    x = torch.cat([*first, tokens], 1) + state[own + "position_embeddings"]
    for number in range(layers):
        layer = torch.nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", 1e-12, batch_first=True, norm_first=True
        ).eval()
        at = f"encoder.layer.{number}."
        parts = [f"{at}attention.attention.{part}." for part in ("query", "key", "value")]
        names = {
            "self_attn.out_proj": "attention.output.dense",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm1": "layernorm_before",
            "norm2": "layernorm_after",
        }
        layer.load_state_dict(
            {f"self_attn.in_proj_{k}": torch.cat([state[p + k] for p in parts])
             for k in ("weight", "bias")}
            | {f"{theirs}.{k}": state[f"{at}{ours}.{k}"]
               for theirs, ours in names.items() for k in ("weight", "bias")}
        )  # fmt: skip
        x = layer(x)
    return x


def test_taps_are_means_of_the_last_layers_tokens() -> None:
    with small.installed():
        state = networks.state("small_ast")
        batch = networks.full_batch("small_ast", "mel") * 3 - 8
        out = networks.network("small_ast").forward("mel", batch, ["class", "band", "band10"])
    with torch.no_grad():
        x = reference(state, batch, width=48, layers=2, heads=4)
        normed = torch.nn.functional.layer_norm(
            x, (48,), state["layernorm.weight"], state["layernorm.bias"], 1e-12
        )
    patches = x[:, 2:].reshape(len(x), 12, 101, 48)
    seen = normed[:, 2:].reshape(len(x), 12, 101, 48)[:, :, :10]
    torch.testing.assert_close(out["class"], (x[:, 0] + x[:, 1]) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out["band"], patches.mean(2), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out["band10"], seen.mean(2), rtol=1e-4, atol=1e-5)


def test_only_ten_patches_along_time_see_the_second() -> None:
    with small.installed():
        places: Any = encoders.load("small_ast").AST.places()  # type: ignore[attr-defined]
        places.load_state_dict(networks.state("small_ast"))
    mel = torch.zeros(2, 1024, 128)
    mel[1, :98] = torch.randn(98, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        silent, sounding = places.embed(mel)
    differ = (silent != sounding).any(-1)[2:].reshape(12, 101)
    assert differ.any(0).nonzero().flatten().tolist() == list(range(10))


def test_random_weights_tell_one_audio_from_another() -> None:
    with small.installed():
        network = networks.network("small_ast")
        batch = networks.full_batch("small_ast", "mel") * 3 - 8
        for tap, rows in network.forward("mel", batch, ["class", "band", "band10"]).items():
            assert float((rows[0] - rows[1]).abs().mean()) > 0.02 * float(rows.abs().mean()), tap


def test_parameters_are_as_many_as_published() -> None:
    with torch.device("meta"):
        count = sum(part.numel() for part in ast.AST.places().parameters())
    assert count == 86_187_264
    shapes = {tap: spec.shape for tap, spec in ast.TAPS.items()}
    assert shapes == {"class": (768,), "band": (12, 768), "band10": (12, 768)}


def test_a_published_file_is_read_without_its_classifier(tmp_path: Any) -> None:
    prefix = "audio_spectrogram_transformer."
    tensors = {prefix + "layernorm.weight": torch.ones(3), "classifier.dense.bias": torch.ones(2)}
    save_file(tensors, tmp_path / "model.safetensors")
    found = ast.WEIGHTS["ast"].convert(tmp_path / "model.safetensors")
    assert found["layernorm.weight"].tolist() == [1, 1, 1]
