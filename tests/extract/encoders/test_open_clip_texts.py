"""Texts of open_clip's towers that are not CLIP's: whose tokens, and where the sentence is."""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from helpers.extraction import tokeniser_files
from open_clip.tokenizer import HFTokenizer

from avqa.errors import ConfigError, LibraryMissing, WeightsUnavailable
from avqa.extract import encoders, weights
from avqa.extract.encoders._parts.by_tag import ByTag
from avqa.extract.text import CLIPS, TextEncoder, TextSettings, text_recipe

VIT = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
TEXT = {"width": 16, "heads": 2, "layers": 2}
HUB = {"vocab_size": tokeniser_files.SIZE, "hf_tokenizer_name": "some/words", "context_length": 9}
BOTH_WAYS = {"no_causal_mask": True, "pool_type": "last"}
CLEAN = {"tokenizer_kwargs": {"clean": "canonicalize"}}
KINDS: dict[str, dict[str, Any]] = {
    "siglip": HUB | BOTH_WAYS | CLEAN | {"proj_bias": True, "norm_kwargs": {"eps": 1e-6}},
    "clipa": HUB | BOTH_WAYS | {"tokenizer_kwargs": {"strip_sep_token": True}},
    "worldwide": HUB | CLEAN | {"pool_type": "eos", "eos_id": 1},
    "short": {"context_length": 32},
    "coca": {"context_length": 76, "embed_cls": True, "output_tokens": True},
}
TEXTS = ["Is the cello playing?", "a", "is the cello playing is the cello playing", ""]


@functools.cache
def small(kind: str) -> ByTag:
    config = {"embed_dim": 24, "vision_cfg": VIT, "text_cfg": TEXT | KINDS[kind]}
    return ByTag(f"open_clip/{kind}/small", config, {})


@functools.cache
def state_of(kind: str) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = small(kind).WEIGHTS[small(kind).name].random()
        return {name: torch.randn_like(value) * 0.3 for name, value in drawn.items()}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tokeniser's files are to be."""
    monkeypatch.setenv("AVQA_CACHE", str(tmp_path))
    monkeypatch.setattr(encoders, "_member", lambda _family, rest: small(rest.split("/")[0]))
    return tmp_path / "tokenizers/some/words"


def encoded(kind: str) -> Any:
    settings = TextSettings((f"open_clip/{kind}/small/sentence",))
    encoder = TextEncoder(settings, state_of(kind))
    tokens, ends = encoder.tokenise(TEXTS)
    return tokens, encoder.encode(tokens, ends)["sentence"]


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_are_what_encode_text_gives(kind: str, place: Path) -> None:
    if "hf_tokenizer_name" in KINDS[kind]:
        pytest.importorskip("tokenizers", reason="tokenizers is not installed")
        tokeniser_files.write(place)
    tokens, sentences = encoded(kind)
    model = open_clip.CustomTextCLIP(**small(kind).config)
    model.load_state_dict(state_of(kind), strict=False)
    text = model.eval().text
    text.output_tokens = False
    with torch.no_grad():
        theirs = text(torch.from_numpy(tokens)).numpy()
    assert sentences.shape == (len(TEXTS), 24)
    np.testing.assert_allclose(sentences, theirs, rtol=1e-4, atol=1e-5)
    apart = np.abs(sentences[0] - sentences[1:]).max(1)
    assert apart.min() > 0.01


@pytest.mark.parametrize("kind", ["siglip", "clipa", "worldwide"])
@pytest.mark.parametrize("tokeniser", ["PreTrainedTokenizerFast", "T5Tokenizer"])
def test_tokens_are_those_of_open_clips_wrapper(kind: str, tokeniser: str, place: Path) -> None:
    """As transformers read the same files for it."""
    pytest.importorskip("transformers", reason="transformers is not installed")
    tokeniser_files.write(place, tokenizer_class=tokeniser, extra_ids=0)
    options = KINDS[kind]["tokenizer_kwargs"]
    theirs = HFTokenizer(str(place), context_length=9, **options)(TEXTS).numpy()
    tower = small(kind).TEXT
    assert tower is not None
    assert tower.tokeniser is not None
    ours = tower.tokeniser.tokenise(TEXTS)
    assert np.array_equal(ours, theirs)
    assert len(ours[0]) == tower.tokens == 9
    assert (ours[2, -1] == 1) == (kind != "clipa")  # cut, and its end kept


def test_pairs_of_bytes_are_there_for_other_lengths() -> None:
    for kind, length in (("short", 32), ("coca", 76)):
        tokens, _ = encoded(kind)
        assert np.array_equal(
            tokens, open_clip.SimpleTokenizer(context_length=length)(TEXTS).numpy()
        )


def test_what_was_tokenised_how_is_in_the_recipe(place: Path) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    source = weights.resolve("random:0")

    def text_of(kind: str) -> dict[str, Any]:
        feature = f"open_clip/{kind}/small/sentence"
        found: dict[str, Any] = text_recipe(feature, TextSettings((feature,)), source)["text"]
        return found

    assert text_of("short") == {"tokeniser": CLIPS, "tokens": 32, "mark": ""}
    tokeniser_files.write(place)
    first = text_of("siglip")
    assert first["tokens"] == 9
    assert first["tokeniser"].startswith("some/words, clean=canonicalize, sha256 ")
    assert "no separator" in text_of("clipa")["tokeniser"]
    tokeniser_files.write(place, pad_token="<pad>")
    assert text_of("siglip") != first


def test_missing_files_are_named_with_their_place(place: Path) -> None:
    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    with pytest.raises(WeightsUnavailable) as caught:
        encoded("siglip")
    assert str(caught.value) == (
        "tokeniser of open_clip/siglip/small: no tokenizer.json and no tokenizer_config.json in"
        f" {place}; expected both files of some/words; download tokenizer.json and"
        " tokenizer_config.json from https://huggingface.co/some/words/tree/main and put them"
        " there"
    )
    tokeniser_files.write(place, pad_token="[PAD]")
    with pytest.raises(WeightsUnavailable, match=r"cannot be read \(ValueError: pad_token='\[PAD"):
        encoded("siglip")
    (place / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(WeightsUnavailable, match=r"words cannot be read .*; download them again"):
        encoded("siglip")


def test_without_the_library_it_is_asked_for(place: Path, monkeypatch: Any) -> None:
    place.mkdir(parents=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (place / file).write_text("{}", encoding="utf-8")
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(
        LibraryMissing, match="tokenizers is not installed; expected the extra texts"
    ):
        encoded("siglip")


def test_every_model_reads_texts_or_says_why_not(monkeypatch: Any) -> None:
    monkeypatch.undo()
    found: Counter[str] = Counter()
    for name in open_clip.list_models():
        module = ByTag(f"open_clip/{name}/any", open_clip.get_model_config(name), {})
        tower = module.TEXT
        if tower is None:
            kind = "transformers'"
            assert "hf_model_name" in module.config["text_cfg"], name
        elif tower.tokeniser is None:
            kind = "CLIP's"
            assert {"sentence", "word", "word_state"} == set(tower.taps)
        else:
            kind = type(tower.tokeniser).__name__
            assert set(tower.taps) == {"sentence"}
        found[kind] += 1
    # Of open_clip 3.3; another version may have more models.
    least = {"CLIP's": 87, "OfHub": 39, "BytePairs": 8, "transformers'": 10}
    assert all(found[kind] >= count for kind, count in least.items()), found
    with pytest.raises(ConfigError) as caught:
        encoders.text_tower("open_clip/roberta-ViT-B-32/laion2b_s12b_b32k")
    assert str(caught.value) == (
        "open_clip/roberta-ViT-B-32/laion2b_s12b_b32k: texts are read by transformers'"
        " roberta-base, which avqa does not run; expected a tower of open_clip's own; take its"
        " frames alone"
    )
