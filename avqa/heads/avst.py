"""AVST: the audio is grounded in the frame, then both are grounded in time by the question.

The base of its family: TJSTG and SaSR-Net start from its grounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from avqa.heads._parts.blocks import AnswerLayer, QuestionBlock, masked_mean, question_encoder
from avqa.heads._parts.evidence import Evidence
from avqa.heads._parts.grounding import (
    MatchClassifier,
    UnitMap,
    audio_layer,
    draw_negatives,
    match_loss,
    picture_layer,
)
from avqa.heads._parts.head import Head as BaseHead
from avqa.heads._parts.head import HeadInput, HeadOutput
from avqa.heads._parts.paper import EVERY_SECOND, Ablation, Paper, Recipe
from avqa.heads._parts.printed import departures, printed, references
from avqa.heads._parts.product import JoiningOptions

_TABLES = printed("avst")
_COST = printed("pstp")["cost"]["AVST, updated annotation"]
PAPER = Paper(
    title="Learning to Answer Questions in Dynamic Audio-Visual Scenarios",
    venue="CVPR 2022",
    url="https://arxiv.org/abs/2203.14072",
    recipe=Recipe(
        learning_rate=1e-4,
        batch_size=64,
        epochs=30,
        step_epochs=10,
        gamma=0.1,
        stride_seconds=6,
        visual="resnet18",
        note="authors' code: a step every 8 epochs, 80 epochs by default; grounding pre-training:"
        " first 10 seconds of real training videos, Adam 1e-4, × 0.1 every 8 epochs, batch 64,"
        " 30 epochs; for clips of 10 s take a row every second",
    ),
    datasets=EVERY_SECOND,
    figures=(
        _TABLES["main"]["AVST"],
        _TABLES["updated"]["AVST, updated annotation"],
        printed("avaf")["main"]["AVST, run again"],
    ),
    references=references("avst"),
    departures=departures("avst"),
    parameters_millions=_COST.parameters_millions,
    gflops=_COST.gflops,
    parameters_note="as other papers print them; not reproduced, must include the ResNet-18 that a"
    " head over cached features does not have; the authors' module holds 22.30 M",
)

_MEANS = {"temporal": False, "spatial": False}
_MODULES = _TABLES["modules"]
ABLATIONS = {
    "q": Ablation.of({"modalities": "q", **_MEANS}, _MODULES["Q"]),
    "a+q": Ablation.of({"modalities": "aq", **_MEANS}, _MODULES["A+Q"]),
    "v+q": Ablation.of({"modalities": "vq", **_MEANS}, _MODULES["V+Q"]),
    "av+q": Ablation.of(_MEANS, _MODULES["AV+Q"]),
    "av+q+temporal": Ablation.of({"spatial": False}, _MODULES["AV+Q, temporal"]),
    "full": Ablation.of({}, _TABLES["main"]["AVST"]),
}


@dataclass(frozen=True, kw_only=True)
class Options(JoiningOptions):
    """AVST's ablation flags and the temperature of its grounding."""

    modalities: Literal["q", "aq", "vq", "avq"] = "avq"
    """What the head is given: the question, audio, frames."""
    temporal: bool = True
    """Grounding in time; without it the means over time alone."""
    spatial: bool = True
    """Grounding in space and the match loss; without them the mean of each map."""
    ground_temp: float = 1.0
    """Divides the cosines before the softmax over positions. 1 as published leaves the map nearly
    flat; 0.1 is worth a try."""

    def problems(self) -> list[str]:
        """Complaints about values or combinations, one each."""
        found = [*super().problems(), *grounding_problems(self.width, self.ground_temp)]
        if self.spatial and self.modalities != "avq":
            found.append(f"modalities={self.modalities} with spatial=true; expected spatial=false")
        if self.temporal and self.modalities == "q":
            found.append("modalities=q with temporal=true; expected temporal=false")
        if self.fusion == "product" and self.modalities != "avq":
            found.append(f"modalities={self.modalities} with fusion=product; expected fusion=sum")
        return found


def grounding_problems(width: int, ground_temp: float) -> list[str]:
    """Complaints about options that all heads with this grounding have."""
    found = []
    if width % 4:
        found.append(f"width={width}; expected a multiple of 4 (attention heads)")
    if not 0 < ground_temp < math.inf:
        found.append(f"ground_temp={ground_temp}; expected more than 0")
    return found


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


class StreamFusion(nn.Module):
    """Ground each stream in time by the question, then join the streams.

    Temporal grounding and multimodal fusion of AVST:

        u_s, w_s = QBlock_s(q, s_1 … s_T)                      for every stream s
        f = FC(tanh([u_a + mean_t a_t ; u_v + mean_t v_t]))

    Args:
        options: of the head.
        streams: names of the streams, in the order they are concatenated.
        temporal: without it ``u_s`` = 0.
    Shapes:
        q [B, D], each stream [V, T, D] and its mask [V, T] → f [B, D], weights {stream: [B, T]}
    """

    def __init__(
        self, options: JoiningOptions, streams: Collection[str], *, temporal: bool = True
    ) -> None:
        super().__init__()
        width, dropout = options.width, options.dropout
        grounded = streams if temporal else ()
        self.ground = nn.ModuleDict({name: QuestionBlock(width, dropout) for name in grounded})
        self.fuse = nn.Linear(len(streams) * width, width)
        self.product = options.product()

    def forward(
        self,
        q: Tensor,
        streams: dict[str, Tensor],
        masks: dict[str, Tensor],
        each: Callable[[Tensor], Tensor] = _as_it_is,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Join ``streams``; the weights are those of the grounded ones.

        ``each`` gives every question its video's rows (`HeadInput.each`), where they are shared.
        """
        parts = {name: each(masked_mean(x, masks[name])) for name, x in streams.items()}  # [B, D]
        weights = {}
        for name, block in self.ground.items():
            # temporal grounding, [B, D], [B, T]
            u, weights[name] = block(q, each(streams[name]), each(masks[name]))
            parts[name] = parts[name] + u
        f = self.fuse(torch.cat(list(parts.values()), -1).tanh())  # fusion, [B, D]
        if self.product is not None:
            f = f + self.product(*parts.values())
        return f, weights


class Grounded(NamedTuple):
    """A video whose audio was looked for in its frames."""

    streams: dict[str, Tensor]
    """``audio`` and ``visual`` [V, T, D], as far as they are used."""
    attention: Tensor | None
    """Where the audio was looked for [V, T, P]; None without spatial grounding."""


class Head(BaseHead):
    """Spatial grounding, temporal grounding and fusion of AVST.

    Implements the modules of Li et al., CVPR 2022:

        audio                a_t = FC(ReLU(FC(audio_t)))
        spatial grounding    s_t = softmax_p(cos(M_tp, a_t) / ground_temp)
                             g_t = Σ_p s_tp M_tp / |M_tp|
                             v_t = FC(tanh([mean_p M_tp ; g_t]))
        temporal grounding   u_a = QBlock_a(q, a_1 … a_T),  u_v = QBlock_v(q, v_1 … v_T)
        fusion               f = FC(tanh([u_a + mean_t a_t ; u_v + mean_t v_t]))
        answer               e = tanh(f ∘ q),  logits = FC(e)
        match loss           cross-entropy of MLP([a_t; v_t]) for the video's own frame (1) and
                             one of another video (0), both grounded with the same audio

    Chosen where the paper is silent: maps of another width than D pass a layer first; ``q`` alone
    answers by e = tanh(FC(q)); without spatial grounding v_t = FC(tanh(mean_p M_tp)); without
    sound a_t = 0, so that s_t is the same everywhere.
    Differs from the authors' code: frames of other videos are drawn inside the batch; layers
    that the code holds and never runs are not built (22.30 M there, 7.92 M here).

    Shapes:
        audio [B, T, audio_width], patch [B, T, P, visual_width] → logits [B, C]
    """

    FEATURES = ("audio", "patch")
    PROJECTIONS = {"q": "question", "a": "audio", "v": "picture"}

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        width = options.width
        self.hears = options.modalities in ("aq", "avq")
        self.sees = options.modalities in ("vq", "avq")
        self.spatial, self.ground_temp = options.spatial, options.ground_temp
        self.question = question_encoder(options, words=False)
        if self.hears:
            self.audio = audio_layer(options)
        if self.sees:
            self.picture = picture_layer(options)
            self.visual = nn.Linear(2 * width if options.spatial else width, width)
        if options.spatial:
            self.match = MatchClassifier(width)
            self.aux_weights = {"match": 0.5}
        if self.hears or self.sees:
            streams = [name for name, on in (("audio", self.hears), ("visual", self.sees)) if on]
            self.fusion = StreamFusion(options, streams, temporal=options.temporal)
        else:
            self.hidden = nn.Linear(width, width)
        self.answer = AnswerLayer(options)

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `HeadInput` that must be given; not those of modalities that are off."""
        used = {"audio": self.hears, "patch": self.sees}
        return tuple(name for name in super().needs if used.get(name, True))

    def encode(self, inputs: HeadInput) -> Grounded:
        """Audio and sight, the one looked for in the other; see `Head`."""
        streams, attention = {}, None
        if self.hears:
            streams["audio"] = inputs.only_heard(self.audio(inputs.audio))  # audio, [V, T, D]
        if self.sees:
            assert inputs.patch is not None  # check
            streams["visual"], attention = self._look(inputs.patch, streams.get("audio"))
        return Grounded(streams, attention)

    def decide(self, encoded: Grounded, inputs: HeadInput, explain: bool = False) -> HeadOutput:
        """Answer.

        Explains ``spatial_attn`` [B, T, P], ``temporal_attn_audio``, ``temporal_attn_visual`` and
        ``match_prob`` [B, T], as far as the options leave them; 0 at padded seconds, of the audio
        also where there is none.
        """
        q = self.question(inputs).sentence
        if not (self.hears or self.sees):
            return HeadOutput(self.answer(self.hidden(q).tanh(), inputs))
        streams, attention = encoded
        masks = {"audio": inputs.heard, "visual": inputs.valid}
        f, weights = self.fusion(q, streams, masks, inputs.each)
        output = HeadOutput(self.answer((f * q).tanh(), inputs))
        if self.training and self.spatial:
            output.aux_losses.update(self._match_loss(inputs, streams))
        if explain:
            output.explain.update({f"temporal_attn_{name}": w for name, w in weights.items()})
        if explain and attention is not None:
            matched = self.match(torch.cat([streams["audio"], streams["visual"]], -1))
            output.explain["spatial_attn"] = attention * inputs.valid.unsqueeze(-1)
            output.explain["match_prob"] = matched.softmax(-1)[..., 1] * inputs.heard
        return output

    def evidence(self, inputs: HeadInput, output: HeadOutput) -> Evidence:
        """Temporal grounding of both streams; patches by the spatial grounding of the audio."""
        told = output.explain
        return Evidence.of_streams(
            told.get("temporal_attn_audio"),
            told.get("temporal_attn_visual"),
            inputs.valid,
            heard=inputs.heard,
            patches=told.get("spatial_attn"),
        )

    def grounding_loss(self, inputs: HeadInput) -> Tensor | None:
        """The match loss alone, for grounding pre-training: no question is needed.

        Trains the parameters of `avqa.heads._parts.grounding.grounding_state`, from which
        `load_grounding` starts this head, TJSTG or SaSR-Net.

        Returns:
            A scalar; None where the batch holds one video only and no ``negative_patch``.

        Raises:
            ValueError: the batch is not readable, or the head has no spatial grounding.
        """
        if not self.spatial:
            raise ValueError("spatial=False; expected spatial=True: the match loss needs grounding")
        inputs = self.check(inputs, self.FEATURES)
        return self._match_loss(inputs, self.encode(inputs).streams).get("match")

    def _look(self, patch: Tensor, a: Tensor | None) -> tuple[Tensor, Tensor | None]:
        maps = self.picture(patch)
        mean = maps.mean(-2)
        if not self.spatial:
            return self.visual(mean.tanh()), None
        assert a is not None  # Options.problems
        unit = UnitMap.of(maps)
        s = (unit.score(a) / self.ground_temp).softmax(-1)  # spatial grounding, [B, T, P]
        g = unit.average(s)  # spatial grounding, [B, T, D]
        return self.visual(torch.cat([mean, g], -1).tanh()), s  # spatial grounding, [B, T, D]

    def _match_loss(self, inputs: HeadInput, streams: dict[str, Tensor]) -> dict[str, Tensor]:
        others = draw_negatives(inputs)
        if others is None:
            return {}
        a = streams["audio"]
        apart, _ = self._look(others.patch, a)
        own = self.match(torch.cat([a, streams["visual"]], -1))
        other = self.match(torch.cat([a, apart], -1))
        return {"match": match_loss(own, other, others.weight)}  # match loss, scalar
