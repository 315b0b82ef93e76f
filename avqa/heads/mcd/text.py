"""MCD's text side: the text object, and its fusion with pooled audio and frames (LEF)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import (
    ClipQuestion,
    LstmQuestion,
    QuestionEncoder,
    question_encoder,
)
from avqa.heads._parts.head import HeadInput
from avqa.heads.mcd.options import Options


def text_groups(options: Options) -> tuple[str, ...]:
    """Fields of `HeadInput` that join the question in the text object."""
    if not options.text_objects or options.plain != "none":
        return ()
    groups = ("type_tokens", "keyword_tokens")
    return (*groups, "choice_tokens") if options.answer == "choices" else groups


def token_encoder(options: Options) -> LstmQuestion:
    """The LSTM that ``options`` describe, one way or both."""
    return LstmQuestion(
        options.vocabulary,
        options.width,
        pack=options.pack,
        forget_bias=options.forget_bias,
        bidirectional=options.text_encoder == "bilstm",
    )


def attends_to_words(options: Options) -> bool:
    """Whether the question's words are looked at one by one (by the aggregator)."""
    return options.plain == "none" and options.aggregator == "frames"


def text_encoder(options: Options) -> QuestionEncoder:
    """The question encoder."""
    if options.question == "lstm":
        return token_encoder(options)
    return question_encoder(options, words=attends_to_words(options))


class TextObject(nn.Module):
    """Question, type labels, keywords and (multiple choice) options as one vector.

        f_t = FC([q; enc(type); enc(keywords)]),  with options FC([...; enc(options joined)])

    With learnt words ``enc`` is the question's own encoder. CLIP's sentence vector takes the
    question's place alone: the labels are single words of a closed list, which an LSTM of their
    own reads.

    Shapes:
        sentence [B, D], each group [B, N] → [B, D]
    """

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.groups = text_groups(options)
        self.labels = token_encoder(options) if options.question == "clip" else None
        self.join = nn.Linear((1 + len(self.groups)) * options.width, options.width)

    def forward(self, sentence: Tensor, inputs: HeadInput, encoder: QuestionEncoder) -> Tensor:
        """Join the groups; ``encoder`` is the question's."""
        reader = encoder if self.labels is None else self.labels
        assert not isinstance(reader, ClipQuestion)
        groups = [reader.encode(getattr(inputs, name)).sentence for name in self.groups]
        return self.join(torch.cat([sentence, *groups], -1))  # type: ignore[no-any-return]


class TextFusion(nn.Module):
    """The text object, weighted by itself and by both modalities (LEF).

        Eq. 10   f_g = FC(drop(f_t ∘ (f_t + F_v + F_a)))

    ``parts`` leaves one term out of the sum, or (``add``) drops the product with f_t.

    Shapes:
        text [B, D], visual [B, D], audio [B, D] → [B, D]
    """

    def __init__(self, parts: str, width: int, dropout: float) -> None:
        super().__init__()
        self.parts = parts
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.Linear(width, width)

    def forward(self, text: Tensor, visual: Tensor, audio: Tensor) -> Tensor:
        """Fuse the three."""
        terms = {"no_text": text, "no_visual": visual, "no_audio": audio}
        total = torch.stack([x for name, x in terms.items() if name != self.parts]).sum(0)
        mixed = total if self.parts == "add" else text * total
        return self.layer(self.dropout(mixed))  # type: ignore[no-any-return]  # Eq. 10, [B, D]
