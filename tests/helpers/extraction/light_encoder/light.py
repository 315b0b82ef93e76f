"""Encoder of tests of what is around the networks: its rows follow from what was read.

Shapes and batches are those of ``resnet18/pool`` and ``vggish/audio``, but a row is made in no
time, and its decoder process needs neither torch nor soxr.
"""

from __future__ import annotations

import os

import numpy as np

from avqa.extract.encoders import Input, Tap, Weights

WINDOW = 15_600


def random():
    import torch

    return {"mix": torch.rand(64, 512), "bend": torch.rand(64, 128)}


WEIGHTS = {
    "light": Weights(
        random=random,
        address=os.environ.get("LIGHT_ADDRESS", "https://example.org/light.pth"),
        digest=os.environ.get("LIGHT_DIGEST", "0123abcd"),
        licence="MIT",
    )
}
INPUTS = {
    "corner": Input("frame", (64,), "uint8"),
    "wave": Input("audio", (64,), "float32", window=WINDOW),
}
TAPS = {
    "pool": Tap("corner", (512,), ("channel",), sparse=False),
    "audio": Tap("wave", (128,), ("band",), sparse=True),
}
BATCH = {"cpu": 16, "cuda": 128}
OPTIONS = {}


def recipe(tap):
    return {"network": "light 1", "tap": tap}


def prepare(name, seconds, options):
    """The first values of every frame, and of every 200th of a second of audio."""
    if name == "wave":
        return np.ascontiguousarray(seconds[:, :: WINDOW // 64][:, :64])
    return np.stack([np.resize(frame, 64) for frame in seconds])


def build(state, options, device, precision):
    return Light({name: tensor.to(device) for name, tensor in state.items()}, device)


class Light:
    def __init__(self, state, device):
        self.state = state
        self.device = device

    def forward(self, name, batch, taps):
        import torch

        with torch.inference_mode():
            rows = batch.to(self.device)
            if name == "wave":
                return {"audio": torch.relu(rows @ self.state["bend"]).cpu()}
            return {"pool": (rows.float() / 255 @ self.state["mix"]).cpu()}
