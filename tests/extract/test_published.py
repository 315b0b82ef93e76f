"""The weights that the encoders declare, and where their files are cached."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from avqa.errors import PluginError
from avqa.extract import encoders, published, weights, weights_files

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


def test_one_published_file_gives_one_digest(tmp_path: Path) -> None:
    """Whatever order safetensors wrote the entries in: the digest is part of recipes."""
    entries = [{"sha256": "ab", "avqa": "light"}, {"avqa": "light", "sha256": "ab"}]
    files = []
    for number, entry in enumerate(entries):
        tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        head = json.dumps({"__metadata__": entry, "a": tensor}, separators=(",", ":")).encode()
        files.append(tmp_path / f"{number}.safetensors")
        files[-1].write_bytes(len(head).to_bytes(8, "little") + head + bytes(4))
        weights_files._sort_metadata(files[-1])
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load_file(files[0])["a"].tolist() == [0.0]
