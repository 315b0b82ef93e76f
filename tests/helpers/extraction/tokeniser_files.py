"""A tokeniser of a few pieces of words, in the two files that a hub has of one."""

from __future__ import annotations

import json
from pathlib import Path

PIECES = ("▁is", "▁the", "▁cello", "▁play", "ing", "▁a", "▁", *"celopyingstha")
SPECIAL = ("<pad>", "</s>", "<unk>")
SIZE = len(SPECIAL) + len(dict.fromkeys(PIECES))


def write(folder: Path, **changed: object) -> Path:
    """Unigrams with an end behind every text, as SigLIP's; ``changed``: of its configuration."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    scores = [(piece, 0.0) for piece in SPECIAL]
    scores += [(piece, -1.0 - number) for number, piece in enumerate(dict.fromkeys(PIECES))]
    made = Tokenizer(models.Unigram(scores, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "</s>",
        "eos_token": "</s>",
        "sep_token": {"__type": "AddedToken", "content": "</s>"},
        "unk_token": "<unk>",
    }
    text = json.dumps(config | changed)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    return folder
