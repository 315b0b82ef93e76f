"""Which features of texts a head's fields are read from: by the encoder that a run names."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from avqa.errors import FeatureMissing
from avqa.extract import encoders
from avqa.heads import Head
from avqa.store.reader import FeatureStore

OF_SENTENCE = ("sentence", "choices", "prompt")
"""Fields of `HeadInput` that hold vectors of whole texts."""


def text_names(head: Head, encoder: str) -> dict[str, str]:
    """Field of `HeadInput` that a head needs → feature of texts: ``{"words": "…/word", ...}``.

    Args:
        head: says which words it reads (`Head.WORDS`).
        encoder: of the texts.
    """
    encoder = encoders.full_name(encoder)
    taps = dict.fromkeys(OF_SENTENCE, "sentence") | {"words": head.WORDS}
    return {field: f"{encoder}/{taps[field]}" for field in head.needs if field in taps}


def require_texts(store: FeatureStore, names: Iterable[str]) -> None:
    """Refuse a store without these features of texts.

    Raises:
        UnknownName: no encoder of avqa makes them.
        FeatureMissing: names the command that makes them.
    """
    wanted = list(dict.fromkeys(names))
    absent = [name for name in wanted if name not in store.text_features]
    if not absent:
        return
    from avqa.extract.text import text_tap

    for name in absent:
        text_tap(name)
    place = shlex.quote(str(store.path))
    raise FeatureMissing(
        f"store {str(store.path)!r} has no {', '.join(absent)}; expected {', '.join(wanted)}, the"
        " features of the questions; add with: avqa questions --dataset NAME --annotations PATH"
        f" --store {place} --features {','.join(wanted)}"
    )
