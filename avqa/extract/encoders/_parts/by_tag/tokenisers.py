"""Tokenisers of towers of texts that are not CLIP's: files of a hub, or CLIP's pairs, other counts.

A hub's tokeniser is two files, which the user puts into the cache: nothing here downloads them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.caches import cache_dir
from avqa.errors import LibraryMissing, WeightsUnavailable
from avqa.extract.encoders._parts.library import module_alone

FILES = ("tokenizer.json", "tokenizer_config.json")
HUB = "https://huggingface.co"
OPTIONS = frozenset({"clean", "strip_sep_token"})
"""Of open_clip's wrapper of a hub's tokeniser."""
FOLDER = "tokenizers"
"""Of the cache: below it a folder for each, called as on the hub."""


def of_text_config(encoder: str, config: Mapping[str, Any]) -> BytePairs | OfHub:
    """The tokeniser of a tower, by what open_clip's table says of it."""
    length = int(config.get("context_length", 77))
    if name := config.get("hf_tokenizer_name"):
        return OfHub(encoder, name, length, config.get("tokenizer_kwargs", {}))
    return BytePairs(length)


@dataclass(frozen=True)
class BytePairs:
    """CLIP's, which open_clip brings along."""

    length: int

    def about(self) -> str:
        """For the recipe."""
        return "open_clip SimpleTokenizer, clean=lower, bpe_simple_vocab_16e6"

    def tokenise(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Between start and end of text, then zeros: [n, length]; longer texts keep their end."""
        made = module_alone("open_clip", "tokenizer").tokenize(list(texts), self.length)
        tokens: NDArray[np.int64] = made.numpy()
        return tokens


@dataclass(frozen=True)
class OfHub:
    """One of a hub, read by the library `tokenizers`, as open_clip has it read."""

    encoder: str
    name: str
    """On the hub."""
    length: int
    options: Mapping[str, Any]
    """``clean``: what open_clip does to a text before; ``strip_sep_token``: put zeros for it."""

    @property
    def folder(self) -> Path:
        """Where its files are, if they are there."""
        return cache_dir() / FOLDER / self.name

    def about(self) -> str:
        """For the recipe, with the digest of both files.

        Raises:
            WeightsUnavailable: they are not there.
        """
        clean = self.options.get("clean", "whitespace")
        digest = hashlib.sha256(b"".join(self._contents())).hexdigest()
        strip = ", no separator" if self.options.get("strip_sep_token") else ""
        return f"{self.name}, clean={clean}{strip}, sha256 {digest}"

    def tokenise(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens [n, length], padded; longer texts are cut as the tokeniser's own rule has it.

        Raises:
            WeightsUnavailable: the files are not there, or are none of a tokeniser.
            LibraryMissing: `tokenizers` is not installed.
        """
        made, separator = self._loaded(*self._contents())
        clean = module_alone("open_clip", "tokenizer").get_clean_fn(
            self.options.get("clean", "whitespace")
        )
        encoded = made.encode_batch([clean(text) for text in texts])
        tokens = np.array([one.ids for one in encoded], np.int64).reshape(-1, self.length)
        if self.options.get("strip_sep_token"):
            tokens[tokens == separator] = 0
        return tokens

    def _contents(self) -> tuple[bytes, ...]:
        missing = [file for file in FILES if not (self.folder / file).is_file()]
        if missing:
            raise WeightsUnavailable(
                f"tokeniser of {self.encoder}: no {' and no '.join(missing)} in {self.folder};"
                f" expected both files of {self.name}; download {' and '.join(FILES)} from"
                f" {HUB}/{self.name}/tree/main and put them there"
            )
        return tuple((self.folder / file).read_bytes() for file in FILES)

    def _loaded(self, tokeniser: bytes, config: bytes) -> tuple[Any, int | None]:
        try:
            return _loaded(tokeniser, config, self.length)
        except LibraryMissing:
            raise
        except Exception as error:  # whatever a parser raises on what it cannot parse
            first = str(error).partition("\n")[0]
            raise WeightsUnavailable(
                f"tokeniser of {self.encoder}: {self.folder} cannot be read"
                f" ({type(error).__name__}: {first}); expected {' and '.join(FILES)} of"
                f" {self.name}; download them again from {HUB}/{self.name}/tree/main"
            ) from error


@functools.lru_cache(maxsize=2)
def _loaded(tokeniser: bytes, config: bytes, length: int) -> tuple[Any, int | None]:
    """Cutting and padding to ``length``, as its own files say; and its separator's number."""
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise LibraryMissing(
            "tokenizers is not installed; expected the extra texts, to read a hub's tokeniser;"
            " install it with: pip install tokenizers"
        ) from error
    how = json.loads(config)
    made = Tokenizer.from_str(tokeniser.decode())
    pad = _token(how, "pad_token")
    number = made.token_to_id(pad)
    if number is None:
        raise ValueError(f"pad_token={pad!r} is no token of it")
    made.enable_truncation(length)
    made.enable_padding(
        direction=how.get("padding_side", "right"), pad_id=number, pad_token=pad, length=length
    )
    return made, made.token_to_id(_token(how, "sep_token"))


def _token(how: Mapping[str, Any], name: str) -> str:
    """A token of the configuration, written out or as an object."""
    value = how.get(name) or ""
    return str(value["content"]) if isinstance(value, dict) else str(value)
