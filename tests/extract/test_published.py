"""The weights that the encoders declare, and where their files are cached."""

from __future__ import annotations

import pytest

from avqa.errors import PluginError
from avqa.extract import encoders, published, weights

PUBLISHED = {
    "clip_vit_b32": (
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        "ViT-B-32.pt",
    ),
    "resnet18": ("f37072fd", "resnet18-f37072fd.pth"),
    "vggish": ("10086976", "vggish-10086976.pth"),
    "vggish_pca": ("970ea276", "vggish_pca_params-970ea276.pth"),
}


def test_registry_is_as_published() -> None:
    own = {name: entry for name, entry in published.registry().items() if name in PUBLISHED}
    assert {name: (entry.digest, entry.file_name) for name, entry in own.items()} == PUBLISHED
    assert weights.default_weights() == ["clip_vit_b32", "resnet18", "vggish"]


def test_weights_of_two_encoders_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = encoders.load("clip_vit_b32")
    resnets = encoders.load("resnet18").WEIGHTS
    monkeypatch.setattr(clip, "WEIGHTS", {"resnet18": clip.WEIGHTS["clip_vit_b32"]})
    monkeypatch.setattr(encoders.load("resnet18"), "WEIGHTS", resnets)
    with pytest.raises(PluginError) as caught:
        published.registry()
    assert str(caught.value) == (
        "encoder 'resnet18': weights 'resnet18' are another encoder's, too; expected a name of its"
        " own; rename them"
    )
