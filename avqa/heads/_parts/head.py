"""What every head takes and gives: `HeadInput`, `HeadOutput`, `Head`.

Shape letters, the same in every head: B questions of a batch, V videos that they are about (B
where each question has rows of its own), T seconds, P patches of a frame, N words of a question,
O options of a multiple choice, D width, C answers, G instrument classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.options import WIDTHS, HeadOptions, width_option
from avqa.heads._parts.rows import Standard, coded, plain_width


@dataclass(frozen=True, kw_only=True)
class HeadInput:
    """A batch of questions about videos. What a head does not need may be left out.

    Padded seconds, words and options are marked by the masks and never change a logit. With
    ``of_video`` several questions share the rows of their video: where B is said of them below
    (``valid``, ``audio_valid``, `VIDEO_FEATURES`, ``negative_patch``) they have V ≤ B then.
    """

    valid: Tensor
    """[B, T] bool: true for real seconds."""
    of_video: Tensor | None = None
    """[B] long: which row of ``valid`` and the features each question is about; None: its own."""
    audio_valid: Tensor | None = None
    """[B, T] bool: true for seconds with sound; None: all real ones. A sample may have none."""
    audio: Tensor | None = None
    """[B, T, audio_width], VGGish rows."""
    bands: Tensor | None = None
    """[B, T, F, audio_width or band_width], one vector for each band of the audio's frequencies."""
    frame: Tensor | None = None
    """[B, T, visual_width], one vector per frame."""
    patch: Tensor | None = None
    """[B, T, P, visual_width or patch_width], patches or map positions, row-major."""
    tokens: Tensor | None = None
    """[B, N] long, word numbers, right-padded with 0."""
    sentence: Tensor | None = None
    """[B, text_width], CLIP's vector at the end-of-text position."""
    words: Tensor | None = None
    """[B, 77, text_width or word_width], CLIP's vectors at all positions, the start token first;
    before or after the projection, see `Head.WORDS`."""
    eot: Tensor | None = None
    """[B] long, end-of-text position in ``words``."""
    prompt: Tensor | None = None
    """[B, text_width], the vector of the question's prompt (TSPM), as ``sentence``."""
    choices: Tensor | None = None
    """[B, O, text_width], sentence vectors of the options of a multiple choice; of which texts
    says `Head.ASKED_CHOICES`."""
    choice_words: Tensor | None = None
    """[B, O, 77, text_width or word_width], as ``words``, of each option's text."""
    choice_eot: Tensor | None = None
    """[B, O] long, end-of-text position in ``choice_words``."""
    choice_valid: Tensor | None = None
    """[B, O] bool: false for missing options."""
    choice_tokens: Tensor | None = None
    """[B, N] long, words of all options joined (text object of MCD)."""
    video: Tensor | None = None
    """[B] long, equal for questions about one video; training losses that need other videos."""
    negative_patch: Tensor | None = None
    """[B, T, P, visual_width], frames of other videos (match loss); drawn from the batch
    where it is not given."""
    sources: Tensor | None = None
    """[B, G] in [0, 1], instrument labels of the video (SaSR-Net, training)."""
    source_weight: Tensor | None = None
    """[B, G], weight of each label, 0 = unknown; all 1 if not given."""
    type_tokens: Tensor | None = None
    """[B, N] long, words of the question's type (text object of MCD)."""
    keyword_tokens: Tensor | None = None
    """[B, N] long, the question's slot values (text object of MCD)."""

    @property
    def heard(self) -> Tensor:
        """[B, T] bool: true for real seconds with sound."""
        return self.valid if self.audio_valid is None else self.valid & self.audio_valid

    def only_heard(self, rows: Tensor) -> Tensor:
        """What layers made of the sound, zeros where there is none: of zeros a bias makes others.

        Shapes:
            rows [B, T, D] → [B, T, D]
        """
        if self.audio_valid is None:
            return rows
        return torch.where(self.heard.unsqueeze(-1), rows, 0)

    def each(self, rows: Tensor) -> Tensor:
        """One row a question of what there is once a video: [V, ...] → [B, ...]."""
        return rows if self.of_video is None else rows[self.of_video]

    @property
    def asked(self) -> Tensor:
        """[V] long: how many questions are about each row."""
        if self.of_video is None:
            return self.valid.new_ones(len(self.valid), dtype=torch.long)
        return torch.bincount(self.of_video, minlength=len(self.valid))

    def apart(self) -> HeadInput:
        """The same batch with rows of its own for every question."""
        if self.of_video is None:
            return self
        of_videos = ("valid", "audio_valid", *_TIMED)
        given = {name: rows for name in of_videos if (rows := getattr(self, name)) is not None}
        spread = {name: self.each(rows) for name, rows in given.items()}
        video = self.of_video if self.video is None else self.video
        return replace(self, of_video=None, video=video, **spread)

    def questions(self) -> HeadInput:
        """The questions alone, with masks of their own and without features."""
        none = cast(dict[str, Any], dict.fromkeys(_TIMED))
        return replace(self, **none).apart()

    def to(self, device: torch.device | str) -> HeadInput:
        """The same batch on another device."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{n: v.to(device) for n, v in given.items() if v is not None})


@dataclass(frozen=True)
class HeadOutput:
    """What a head gives."""

    logits: Tensor
    """[B, C], or [B, O] for multiple choice with −inf at missing options."""
    aux_losses: dict[str, Tensor] = field(default_factory=dict)
    """Name → scalar, unweighted; in training only. Weights: `Head.aux_weights`."""
    explain: dict[str, Tensor] = field(default_factory=dict)
    """Name → tensor; on request only."""


VIDEO_FEATURES = ("audio", "frame", "patch", "bands")
"""Fields of `HeadInput` that are read from the store, a row a second."""
OF_SOUND = ("audio", "bands")
"""Those that are of the audio, and there where it is."""
_TEXT = {"lstm": ("tokens",), "positions": ("tokens",), "clip": ("sentence",)}
_RANK = {"audio": 3, "frame": 3, "patch": 4, "tokens": 2, "sentence": 2, "words": 3, "eot": 1}
_RANK |= {"choices": 3, "choice_valid": 2, "video": 1, "negative_patch": 4, "sources": 2}
_RANK |= {"source_weight": 2, "type_tokens": 2, "keyword_tokens": 2, "choice_tokens": 2}
_RANK |= {"audio_valid": 2, "of_video": 1, "prompt": 2, "bands": 4}
_RANK |= {"choice_words": 4, "choice_eot": 2}
_TYPES = dict.fromkeys(("eot", "choice_eot", "video", "of_video"), torch.long)
_TYPES |= dict.fromkeys(("valid", "audio_valid", "choice_valid"), torch.bool)
_TYPES |= {name: torch.long for name in _RANK if name.endswith("tokens")}
_LABELS = ("sources", "source_weight")
_TIMED = (*VIDEO_FEATURES, "negative_patch")


def at_hand(tensor: Tensor) -> bool:
    """Whether Python may look at its values for nothing.

    On another device that waits for all that was queued there, and it breaks the graph that
    `torch.compile` records.
    """
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def _without_hidden(
    inputs: HeadInput, needs: tuple[str, ...], *, every_word: bool = False
) -> HeadInput:
    """Zeros in padded seconds, words behind the end of text, missing options, sound not there."""
    read = (*needs, "negative_patch")
    masks = {name: inputs.valid for name in _TIMED if name in read}
    shown: dict[str, Tensor] = {}
    if inputs.audio_valid is not None:
        shown["audio_valid"] = inputs.heard
        masks |= {name: inputs.heard for name in OF_SOUND if name in masks}
    for name, end in (("words", inputs.eot), ("choice_words", inputs.choice_eot)):
        words = getattr(inputs, name)
        if words is not None and end is not None and not every_word:
            position = torch.arange(words.shape[-2], device=end.device)
            masks[name] = position <= end.unsqueeze(-1)
    if inputs.choice_valid is not None:
        masks["choices"] = inputs.choice_valid
    for name, mask in masks.items():
        tensor = getattr(inputs, name)
        # The copy of a whole map is spared where nothing is hidden and that costs nothing to know.
        if tensor is not None and not (at_hand(mask) and bool(mask.all())):
            shown[name] = torch.where(_over(mask, tensor), tensor, 0)
    return replace(inputs, **shown)


def _over(mask: Tensor, tensor: Tensor) -> Tensor:
    """A mask with the axes of a tensor behind its own."""
    return mask.view(*mask.shape, *(1 for _ in tensor.shape[mask.ndim :]))


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def with_time(inputs: HeadInput, code: str) -> HeadInput:
    """The batch with a `coded` place beside every row of sound, frames and patches."""
    if code == "none":
        return inputs
    given = {name: rows for name in _TIMED if (rows := getattr(inputs, name)) is not None}
    return replace(inputs, **{n: coded(rows, inputs.valid, code) for n, rows in given.items()})


def _prepare(head: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Rows come to a head as they are stored, to its layers as `Head.prepared` has them."""
    prepared = cast(Head, head).prepared
    if args:
        return (prepared(args[0]), *args[1:]), kwargs
    return args, {**kwargs, "inputs": prepared(kwargs["inputs"])}


class Head(nn.Module):
    """Base of all heads: keeps the options and checks the input.

    A head defines `encode`, what belongs to a video, and `decide`, what belongs to a question about
    it; then a batch whose questions share videos (`HeadInput.of_video`) costs the first once a
    video. Or it defines ``forward(inputs, explain=False) -> HeadOutput`` as a whole and starts it
    with ``inputs = self.check(inputs)``, which gives every question rows of its own.
    """

    FEATURES: ClassVar[tuple[str, ...]] = ()
    """Fields of `HeadInput` that hold the video features this head needs: `VIDEO_FEATURES`."""
    WITHOUT_GRADIENT: ClassVar[tuple[str, ...]] = ()
    """First parts of the names of parameters that no loss reaches, as the paper has it."""
    PROJECTIONS: ClassVar[Mapping[str, str]] = {}
    """``q``, ``a``, ``v`` → name of the layer that gives the question ([B, D], or what a
    `question_encoder` gives), the audio [V, T, D], the frames [V, T, D] or [V, T, P, D] before they
    meet: what ``--debias`` looks at, which a head that names none is not trained with."""

    WORDS: ClassVar[str] = "word"
    """Tap of the questions' encoder that ``words`` are read from: ``word``, or ``word_state`` of
    before the projection into the joint space."""
    ASKED_CHOICES: ClassVar[bool] = False
    """Whether texts of options are the question's with the option behind it, not that alone."""

    aux_weights: dict[str, float]
    """Weight of each auxiliary loss in the total; set by the head."""

    def __init__(self, options: HeadOptions) -> None:
        super().__init__()
        self.options = options
        self.aux_weights = {}
        self.standard = Standard(self._plain_widths) if options.standardise else None
        if options.time_code != "none" or options.standardise:
            self.register_forward_pre_hook(_prepare, with_kwargs=True)

    @property
    def _plain_widths(self) -> dict[str, int]:
        """Width of each of `FEATURES` as it is stored."""
        widths = {name: self.options.width_of(name) for name in self.FEATURES}
        return {n: plain_width(width, self.options.time_code) for n, width in widths.items()}

    def prepared(self, inputs: HeadInput) -> HeadInput:
        """The batch with rows as the layers read them: standardised, with a `coded` place."""
        if self.standard is not None:
            read = {name: name for name in self.FEATURES} | {"negative_patch": "patch"}
            changed = {
                name: self.standard(read[name], rows)
                for name in _TIMED
                if read.get(name) in self.FEATURES
                and self._fits(rows := getattr(inputs, name), read[name])
            }
            inputs = replace(inputs, **changed)
        return with_time(inputs, self.options.time_code)

    def _fits(self, rows: object, name: str) -> bool:
        """Whether they can be standardised; others `check` refuses by name."""
        return isinstance(rows, Tensor) and rows.shape[-1:] == (self._plain_widths[name],)

    @property
    def name(self) -> str:
        """Name of the file or folder that defines this head."""
        return type(self).__module__.removesuffix(".head").rpartition(".")[2]

    @property
    def every_word(self) -> bool:
        """Whether it reads ``words`` behind the end of the text too, which say nothing."""
        return False

    @property
    def released_prompts(self) -> bool:
        """Whether ``prompt`` is as TSPM's code makes it, with its defects."""
        return False

    @property
    def projections(self) -> dict[str, str]:
        """Those of `PROJECTIONS` that there are, for these options."""
        layers = dict(self.named_modules())
        return {kind: name for kind, name in self.PROJECTIONS.items() if name in layers}

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `HeadInput` that must be given, for these options."""
        choices = ("choices",) if self.options.answer == "choices" else ()
        return (*self.FEATURES, *_TEXT[self.options.question], *choices)

    def check(self, inputs: HeadInput, needs: tuple[str, ...] | None = None) -> HeadInput:
        """Refuse a batch this head cannot read; ``needs`` stands in for what `forward` needs.

        The values of masks are looked at on the CPU only: elsewhere that waits for the device.
        Where `torch.compile` records a graph nothing is refused.

        Returns:
            The batch with zeros where its masks hide something, and ``audio_valid`` false in
            padded seconds: a layer's gradient is a product with all of its input, so NaN or
            infinity in a padded second would reach it. Every question has rows of its own where
            the head has no `encode`.

        Raises:
            ValueError: a needed tensor is missing or has another type, rank, width, batch or
                number of seconds; there is no second; a sample has no valid second, word or
                option.
        """
        if not self.shares_videos:
            inputs = inputs.apart()
        if torch.compiler.is_compiling():
            return _without_hidden(inputs, _TIMED, every_word=self.every_word)
        self._check_types(inputs)
        if inputs.valid.ndim != 2 or inputs.valid.dtype != torch.bool:
            raise ValueError(
                f"valid has shape {tuple(inputs.valid.shape)}, dtype {inputs.valid.dtype};"
                " expected bool [B, T]"
            )
        if inputs.valid.shape[1] == 0:
            raise ValueError("valid has T=0 seconds; expected at least one")
        needs = self.needs if needs is None else needs
        for name in needs:
            if getattr(inputs, name) is None:
                raise ValueError(f"{name} is missing; head={self.name} needs {needs}")
        for name, rank in _RANK.items():
            if (tensor := getattr(inputs, name)) is not None:
                self._check_shape(name, tensor, rank, inputs)
        if at_hand(inputs.valid):
            self._check_masks(inputs)
        return _without_hidden(inputs, needs, every_word=self.every_word)

    def _check_types(self, inputs: HeadInput) -> None:
        """Features are of the weights' type: of another, torch complains of a layer deep inside."""
        own = next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.float32)
        for name in ("valid", *_RANK):
            value = getattr(inputs, name)
            if value is None:
                continue
            dtype = _TYPES.get(name, own)
            if not isinstance(value, Tensor):
                raise ValueError(
                    f"{name} is a {type(value).__name__}; expected a tensor; convert it:"
                    f" torch.as_tensor({name}, dtype={dtype})"
                )
            labels = name in _LABELS and value.is_floating_point()
            if value.dtype != dtype and not labels and name != "valid":
                weights = f", as the weights of head={self.name}" if dtype == own else ""
                raise ValueError(
                    f"{name} has dtype {_plain(value.dtype)}; expected {_plain(dtype)}{weights};"
                    f" convert it: {name}.to({dtype})"
                )

    def _check_shape(self, name: str, tensor: Tensor, rank: int, inputs: HeadInput) -> None:
        shape, valid, timed = tuple(tensor.shape), inputs.valid, name in (*_TIMED, "audio_valid")
        if tensor.ndim != rank:
            raise ValueError(f"{name} has shape {shape}; expected {rank} axes")
        of = "valid" if timed or inputs.of_video is None else "of_video"
        batch = len(getattr(inputs, of))
        if shape[0] != batch:
            raise ValueError(f"{name} has batch {shape[0]}; expected that of {of}, {batch}")
        if timed and shape[1] != valid.shape[1]:
            raise ValueError(f"{name} has T={shape[1]}; expected that of valid, {valid.shape[1]}")
        if 0 in shape:
            raise ValueError(f"{name} has shape {shape}; expected no empty axis")
        if name in WIDTHS and shape[-1] != (width := self.options.width_of(name)):
            code = "none"
            expected = f"{width_option(vars(self.options), name)}={width}"
            if name in _TIMED and self.options.time_code != "none":
                code = self.options.time_code
                expected = f"{plain_width(width, code)}: {expected} with time_code={code}"
            found = plain_width(shape[-1], code)
            raise ValueError(f"{name} has width {found}; expected {expected}")

    def _check_masks(self, inputs: HeadInput) -> None:
        videos, rows = inputs.of_video, len(inputs.valid)
        if videos is not None and bool(((videos < 0) | (videos >= rows)).any()):
            raise ValueError(
                f"of_video holds {int(videos.min())} to {int(videos.max())}; expected 0 to"
                f" {rows - 1}, rows of valid"
            )
        masks = {"valid": inputs.valid, "choice_valid": inputs.choice_valid}
        if self.options.question != "clip" and inputs.tokens is not None:
            masks["tokens"] = inputs.tokens != 0
        for name, mask in masks.items():
            if mask is not None and not bool(mask.any(1).all()):
                sample = int((~mask.any(1)).nonzero()[0])
                raise ValueError(
                    f"{name}: sample {sample} has nothing unmasked; expected at least one entry"
                )

    @property
    def shares_videos(self) -> bool:
        """Whether the questions of a batch may share the rows of their videos."""
        return type(self).encode is not Head.encode

    def encode(self, inputs: HeadInput) -> Any:
        """What a video is to this head, whatever is asked about it; tensors of V rows.

        ``inputs`` went through `check`; only what there is of videos may be read.
        """
        raise NotImplementedError

    def decide(self, encoded: Any, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Answer the questions about encoded videos; `HeadInput.each` gives rows to questions."""
        raise NotImplementedError

    def forward(self, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Answer a batch; ``explain`` also returns what was attended to, one row a question."""
        inputs = self.check(inputs.apart() if explain else inputs)
        return self.decide(self.encode(inputs), inputs, explain)

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Where this head looked, from what ``forward(inputs, explain=True)`` gave.

        A head without anything to show keeps this one, which is empty.
        """
        return Evidence()
