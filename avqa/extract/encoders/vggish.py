"""VGGish: 128 numbers for each second of audio, from its log-mel spectrogram.

``audio`` is the last layer after its ReLU, as the published audio-visual question answering
features have it; ``audio_pre_relu`` is what the current TensorFlow model gives, ``audio_pca8``
the whitened, 8-bit form in which AudioSet was published.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import WeightsUnavailable
from avqa.extract.encoders import Input, Option, Options, Tap, Weights
from avqa.extract.encoders._parts.library import module_alone
from avqa.extract.encoders._parts.weights import read_state_dict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from avqa.extract.encoders import Network
    from avqa.extract.encoders._contract import Device, Precision

FRAMES, BANDS = 96, 64
FRAME_LENGTH, FRAME_HOP, FFT = 400, 160, 512
WINDOW = (FRAMES - 1) * FRAME_HOP + FRAME_LENGTH
"""Samples of one example: 15600, so 0.975 s."""
LOG_OFFSET = 0.01
KNOWN_MEAN, KNOWN_DEVIATION, KNOWN_TOLERANCE = 0.131, 0.238, 0.1
"""The published smoke test: the embedding of a 1 kHz sine, before PCA."""
PCA = "pca."
"""Prefix of the PCA's tensors in the state."""

INPUTS: Mapping[str, Input] = {
    "mel": Input("audio", (FRAMES, BANDS), "float32", window=WINDOW, hop="audio_hop")
}
TAPS: Mapping[str, Tap] = {
    "audio": Tap("mel", (128,), ("channel",), sparse=True, weights=("vggish",)),
    "audio_pre_relu": Tap("mel", (128,), ("channel",), sparse=False, weights=("vggish",)),
    "audio_pca8": Tap("mel", (128,), ("channel",), sparse=False),
}
BATCH: Mapping[str, int] = {"cpu": 16, "cuda": 128}
OPTIONS: Mapping[str, Option] = {
    "audio_hop": Option(1.0, (1.0, 0.96), "seconds between two rows", was="audio_hop")
}


def recipe(tap: str) -> dict[str, Any]:
    """Everything of this encoder that changes a number of ``tap``, but its options."""
    return {
        "network": "torchvggish",
        "tap": {
            "audio": "last layer, ReLU",
            "audio_pre_relu": "last layer, no ReLU",
            "audio_pca8": "last layer, ReLU, PCA, 8 bit",
        }[tap],
        "mel": "magnitude, 64 HTK bands 125-7500 Hz, log(x + 0.01), 96 frames of 25 ms every 10 ms",
    }


def prepare(name: str, seconds: NDArray[np.float32], options: Options) -> NDArray[np.float32]:
    """Audio [rows, 15600] at 16 kHz → log-mel examples float32 [rows, 96, 64]."""
    return log_mel(seconds)


def log_mel(windows: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Log-mel spectrogram of each window, as VGGish was trained on.

    Args:
        windows: audio [rows, samples] at 16 kHz, -1 … 1.

    Returns:
        float32 [rows, frames, 64]; frame f begins at sample 160·f.
    """
    frames = np.lib.stride_tricks.sliding_window_view(windows, FRAME_LENGTH, axis=1)
    windowed = frames[:, ::FRAME_HOP] * _periodic_hann()  # float64 from here on
    spectrum = np.abs(np.fft.rfft(windowed, FFT))
    # One product per row, of one shape: rows must not depend on how many there are.
    return np.log(spectrum @ _mel_weights() + LOG_OFFSET).astype(np.float32)


@functools.cache
def _periodic_hann() -> NDArray[np.float64]:
    angle = 2 * np.pi / FRAME_LENGTH * np.arange(FRAME_LENGTH)
    return np.asarray(0.5 - 0.5 * np.cos(angle))


@functools.cache
def _mel_weights() -> NDArray[np.float64]:
    """Triangular bands [257, 64], linear on the HTK mel scale; the DC bin counts nowhere."""

    def mel(hertz: NDArray[np.float64] | float) -> Any:
        return 1127.0 * np.log(1.0 + np.asarray(hertz) / 700.0)

    bins = mel(np.linspace(0.0, 8000.0, FFT // 2 + 1))[:, None]
    edges = np.linspace(mel(125.0), mel(7500.0), BANDS + 2)
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    weights: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights


def architecture() -> nn.Module:
    """Torchvggish's network, every layer ``kaiming_normal_`` with zero bias.

    PyTorch's default initialisation leaves differences of 2e-4 on a constant: random weights
    would then not tell one audio from another.
    """
    from torch import nn

    # The package itself imports resampy and soundfile.
    torchvggish = module_alone("torchvggish", "torchvggish")
    network: nn.Module = torchvggish._vgg(postprocess=False)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) and not layer.weight.is_meta:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return network


def _random_pca() -> dict[str, Tensor]:
    import torch

    return {
        PCA + "eigen_vectors": torch.linalg.qr(torch.randn(128, 128))[0],
        PCA + "means": torch.rand(128),
    }


def _converted_pca(path: Path) -> dict[str, Tensor]:
    import torch

    raw = read_state_dict(path)
    return {
        PCA + "eigen_vectors": torch.as_tensor(raw["pca_eigen_vectors"]),
        PCA + "means": torch.as_tensor(raw["pca_means"]).reshape(-1),
    }


def _known_answer(state: Mapping[str, Tensor]) -> str:
    """The embedding of 3 s of a 1 kHz sine against the published mean and deviation."""
    import torch

    sine = np.sin(2 * np.pi * 1000 / 16_000 * np.arange(48_000)).astype(np.float32)
    windows = np.stack([sine[k * 15_360 :][:WINDOW] for k in range(3)])
    mel = np.zeros((BATCH["cpu"], FRAMES, BANDS), np.float32)
    mel[:3] = log_mel(windows)
    network = build(state, {}, "cpu", "fp32")
    rows = network.forward("mel", torch.from_numpy(mel), ["audio"])["audio"][:3].numpy()
    mean, deviation = float(rows.mean()), float(rows.std())
    for value, known in ((mean, KNOWN_MEAN), (deviation, KNOWN_DEVIATION)):
        if abs(value - known) > KNOWN_TOLERANCE * known:
            raise ValueError(
                f"a 1 kHz sine gives mean={mean:.3f} deviation={deviation:.3f};"
                f" expected {KNOWN_MEAN} and {KNOWN_DEVIATION} within 10 %"
            )
    return f"known answer mean {mean:.3f} deviation {deviation:.3f}"


_RELEASE = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/"
WEIGHTS: Mapping[str, Weights] = {
    "vggish": Weights(
        random=lambda: architecture().state_dict(),
        address=_RELEASE + "vggish-10086976.pth",
        digest="10086976",
        licence="Apache-2.0",
        check=_known_answer,
    ),
    "vggish_pca": Weights(
        random=_random_pca,
        address=_RELEASE + "vggish_pca_params-970ea276.pth",
        digest="970ea276",
        licence="Apache-2.0",
        convert=_converted_pca,
    ),
}


def build(
    state: Mapping[str, Tensor], options: Options, device: Device, precision: Precision
) -> Network:
    """The frozen network; the PCA where ``state`` has it.

    Raises:
        WeightsUnavailable: if names or shapes are not this architecture's.
    """
    import torch

    from avqa.extract.encoders._parts import frozen

    own = {name: tensor for name, tensor in state.items() if not name.startswith(PCA)}
    network: Any = frozen.filled(architecture, own, "vggish")
    frozen.freeze(network, device, precision)
    pca = {name: t.float().to(device) for name, t in state.items() if name not in own}
    with torch.inference_mode():
        return _Vggish(network, pca, BATCH[device])


class _Vggish:
    """Six convolutions between four poolings, then three linear layers."""

    def __init__(self, network: Any, pca: Mapping[str, Tensor], batch: int) -> None:
        from torch import nn

        from avqa.extract.encoders._parts import packed

        self.pca = pca
        self.device = network.embeddings[0].weight.device
        self.dtype = network.embeddings[0].weight.dtype
        self.convs: list[packed.Conv | None] = []  # None is a pooling
        height, width = FRAMES, BANDS
        for layer in network.features:
            if isinstance(layer, nn.Conv2d):
                self.convs.append(packed.Conv(layer, (batch, height, width)))
            elif isinstance(layer, nn.MaxPool2d):
                self.convs.append(None)
                height, width = height // 2, width // 2
        linear = [layer for layer in network.embeddings if isinstance(layer, nn.Linear)]
        self.linears = [packed.Linear(layer.weight, layer.bias, batch) for layer in linear]

    def forward(self, name: str, batch: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Log-mel [B, 96, 64] → audio, audio_pre_relu, audio_pca8, each [B, 128].

        Raises:
            WeightsUnavailable: there is no PCA for ``audio_pca8``.
        """
        import torch
        import torch.nn.functional as F

        if "audio_pca8" in taps and not self.pca:
            raise WeightsUnavailable(
                "weights vggish_pca are missing; expected for vggish/audio_pca8; run"
                " `avqa weights fetch vggish_pca` or `avqa weights import vggish_pca FILE`"
            )
        with torch.inference_mode():
            x = batch.to(self.device, self.dtype)[:, None]
            x = x.contiguous(memory_format=torch.channels_last)
            for conv in self.convs:
                x = F.max_pool2d(x, 2) if conv is None else conv(x, "relu")
            x = x.permute(0, 2, 3, 1).flatten(1)  # channel last, as in TensorFlow
            x = self.linears[1](self.linears[0](x, "relu"), "relu")
            out = {"audio_pre_relu": self.linears[2](x).float()}
            out["audio"] = out["audio_pre_relu"].relu()
            if "audio_pca8" in taps:
                out["audio_pca8"] = whiten(out["audio"], self.pca)
            return {tap: out[tap].cpu() for tap in taps}


def whiten(embeddings: Tensor, pca: Mapping[str, Tensor]) -> Tensor:
    """AudioSet's published form: PCA with whitening, -2 … 2 quantised to 0 … 255.

    Args:
        embeddings: [B, 128] after ReLU.
        pca: ``pca.eigen_vectors`` [128, 128] and ``pca.means`` [128].
    """
    projected = (embeddings - pca[PCA + "means"]) @ pca[PCA + "eigen_vectors"].T
    return ((projected.clamp(-2.0, 2.0) + 2.0) * (255.0 / 4.0)).round()
