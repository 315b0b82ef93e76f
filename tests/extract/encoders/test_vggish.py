"""VGGish against torchvggish's own mel, network and post-processing, on real audio."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.extraction import networks
from numpy.typing import NDArray

from avqa.errors import WeightsUnavailable
from avqa.extract.encoders import vggish
from avqa.extract.encoders._parts.library import module_alone

WAV = Path(__file__).parents[4] / "shared" / "media" / "vggish_reference.wav"

mel_features = module_alone("torchvggish", "mel_features")
torchvggish = module_alone("torchvggish", "torchvggish")


@pytest.fixture(scope="module")
def audio() -> NDArray[np.float32]:
    """Mono samples at 16 kHz, -1 … 1."""
    if not WAV.is_file():
        pytest.skip(f"no {WAV.name}: real audio is not part of the repository")
    with wave.open(str(WAV)) as file:
        assert (file.getframerate(), file.getsampwidth()) == (16_000, 2)
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        mono = data.reshape(-1, file.getnchannels()).mean(1)
    return (mono / 32768).astype(np.float32)


def own_log_mel(samples: NDArray[Any]) -> NDArray[Any]:
    """torchvggish's spectrogram of a whole audio [frames, 64]."""
    result: NDArray[Any] = mel_features.log_mel_spectrogram(
        samples, audio_sample_rate=16_000, log_offset=0.01, window_length_secs=0.025,
        hop_length_secs=0.010, num_mel_bins=64, lower_edge_hertz=125, upper_edge_hertz=7500,
    )  # fmt: skip
    return result


def windows(samples: NDArray[np.float32], hop: int) -> NDArray[np.float32]:
    count = (len(samples) - vggish.WINDOW) // hop + 1
    return np.stack([samples[k * hop :][: vggish.WINDOW] for k in range(count)])


@pytest.mark.parametrize("hop_frames", [100, 96])
def test_log_mel_is_torchvggishs(audio: NDArray[np.float32], hop_frames: int) -> None:
    whole = own_log_mel(audio)
    ours = vggish.prepare("mel", windows(audio, 160 * hop_frames), {})
    assert len(ours) >= 2
    for k, example in enumerate(ours):
        theirs = whole[hop_frames * k : hop_frames * k + 96]
        np.testing.assert_allclose(example, theirs, atol=1e-5, rtol=0)


def test_log_mel_of_noise_and_silence_is_torchvggishs() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, vggish.WINDOW).astype(np.float32)
    for samples in (noise, np.zeros_like(noise)):
        ours = vggish.log_mel(samples[None])[0]
        np.testing.assert_allclose(ours, own_log_mel(samples), atol=1e-5, rtol=0)


def own_network() -> Any:
    network = torchvggish._vgg(postprocess=False)
    state = networks.state("vggish")
    network.load_state_dict({k: v for k, v in state.items() if not k.startswith("pca.")})
    return network.eval()


def test_embeddings_are_torchvggishs(audio: NDArray[np.float32]) -> None:
    mel = vggish.prepare("mel", windows(audio, 16_000), {})
    batch = networks.padded(mel, "vggish")
    out = networks.network("vggish").forward("mel", batch, ["audio", "audio_pre_relu"])
    network = own_network()
    with torch.no_grad():
        theirs = network(torch.from_numpy(mel)[:, None])
        network.embeddings = network.embeddings[:-1]
        before_relu = network(torch.from_numpy(mel)[:, None])
    atol = 1e-5 * float(theirs.max())
    torch.testing.assert_close(out["audio"][: len(mel)], theirs, rtol=1e-4, atol=atol)
    torch.testing.assert_close(out["audio_pre_relu"][: len(mel)], before_relu, rtol=1e-4, atol=atol)
    assert float(before_relu.min()) < 0 == float(theirs.min())


def test_pca8_is_torchvggishs_postprocessor() -> None:
    state = networks.state("vggish")
    theirs = torchvggish.Postprocessor.__new__(torchvggish.Postprocessor)  # its __init__ downloads
    theirs._pca_matrix = state["pca.eigen_vectors"]
    theirs._pca_means = state["pca.means"].reshape(-1, 1)
    embeddings = torch.rand(5, 128, generator=torch.Generator().manual_seed(0)) * 3
    ours = vggish.whiten(embeddings, state)
    assert float((ours - theirs.postprocess(embeddings)).abs().max()) <= 1  # one step of rounding
    assert float((ours != theirs.postprocess(embeddings)).float().mean()) < 0.01
    assert set(ours.unique().tolist()) <= set(map(float, range(256)))
    assert vggish.whiten(embeddings[:1], state).shape == (1, 128)


def test_different_sounds_have_different_rows_under_random_weights() -> None:
    time = np.arange(vggish.WINDOW) / 16_000
    sounds = [0.5 * np.sin(2 * np.pi * hertz * time) for hertz in (220, 440, 1000, 4000)]
    sounds += [np.random.default_rng(0).normal(0, 0.1, vggish.WINDOW), np.zeros(vggish.WINDOW)]
    mel = vggish.prepare("mel", np.stack(sounds).astype(np.float32), {})
    batch = networks.padded(mel, "vggish")
    rows = networks.network("vggish").forward("mel", batch, ["audio"])["audio"][: len(sounds)]
    mean = float(rows.mean())
    for a in range(len(sounds)):
        for b in range(a):
            assert float((rows[a] - rows[b]).abs().mean()) > 0.1 * mean, (a, b)


def test_pca8_without_its_weights_is_refused() -> None:
    state = {k: v for k, v in networks.state("vggish").items() if not k.startswith("pca.")}
    network = networks.built("vggish", state)
    mel = networks.full_batch("vggish", "mel")
    network.forward("mel", mel, ["audio"])
    expected = (
        "weights vggish_pca are missing; expected for vggish/audio_pca8; run"
        " `avqa weights fetch vggish_pca` or `avqa weights import vggish_pca FILE`"
    )
    with pytest.raises(WeightsUnavailable) as caught:
        network.forward("mel", mel, ["audio", "audio_pca8"])
    assert str(caught.value) == expected
