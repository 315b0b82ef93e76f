"""Which head, in which form, on which task, and what its explanation is measured by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from benchmarks.planted_tasks import PLACES, Planted

Measure = Callable[[Mapping[str, Tensor], Planted], Tensor]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    head: str
    task: str
    form: str
    options: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 800
    epsilon: float = 1e-8
    """Of Adam."""
    rate: float = 1e-3
    """Of learning, until it falls."""
    scored: str | None = None
    """The task it is scored on, if not its own."""
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the row is kept under."""
        return f"{self.head} {self.task} {self.form} {self.steps}"

    def key(self, seed: int) -> str:
        """What one run is kept under."""
        return f"{self.name} seed {seed}"


def peak_second(name: str) -> Measure:
    """Share of questions whose largest weight over time [B, T] lies at the planted second."""
    return lambda told, planted: (told[name].argmax(1) == planted.place).float().mean()


def peak_patch(name: str) -> Measure:
    """Share of seconds whose largest weight over patches [B, T, P] lies at the planted one."""
    return lambda told, planted: (told[name].argmax(2) == planted.place).float().mean()


def of_frame(name: str) -> Measure:
    """As `peak_patch`, of what the frame asks: [B, T, 2, P], frame first."""
    return lambda told, planted: (told[name][:, :, 0].argmax(2) == planted.place).float().mean()


def kept(name: str) -> Measure:
    """Recall@k: share of planted places among those kept, [B, k] or [B, T, k]."""
    return lambda told, planted: (told[name] == planted.place.unsqueeze(-1)).any(-1).float().mean()


def peak_of_kept(weights: str, index: str) -> Measure:
    """As `peak_patch`, for weights over patches that were kept before."""

    def measure(told: Mapping[str, Tensor], planted: Planted) -> Tensor:
        best = told[weights].argmax(2, keepdim=True)
        return (told[index].gather(2, best)[..., 0] == planted.place).float().mean()

    return measure


def right_word(told: Mapping[str, Tensor], planted: Planted) -> Tensor:
    """Share of questions whose target word is the one that names the marker."""
    return (told["target_index"] == planted.word).float().mean()


def follows_asked(told: Mapping[str, Tensor], planted: Planted) -> Tensor:
    """Weight of the picture when the picture is asked about, minus that when the sound is."""
    visual = told["modality_weights"][:, 0]
    return visual[planted.asked == 1].mean() - visual[planted.asked == 0].mean()


def cases(
    head: str,
    task: str,
    forms: Mapping[str, Mapping[str, Any]],
    *,
    base: Mapping[str, Any] | None = None,
    steps: int = 800,
    epsilon: float = 1e-8,
    rate: float = 1e-3,
    scored: str | None = None,
    **measures: Measure,
) -> list[Case]:
    """The same task in several forms."""
    return [
        Case(head, task, form, {**(base or {}), **options}, steps, epsilon, rate, scored, measures)
        for form, options in forms.items()
    ]


TASKS = (
    "second",
    "patch",
    "attribute",
    "sounding",
    "modality",
    "sense",
    "worded",
    "rare",
    "cued",
    "elsewhere",
)
_CLIP = {"question": "clip"}
_SECONDS = {"num_segments": 8, "top_k_segments": 2, "top_k_patches": 2}
_ELSEWHERE = {"num_segments": 9, "top_k_segments": 3, "top_k_patches": 2}
_PATCHES = {"num_segments": 3, "top_k_segments": 3, "top_k_patches": 2}
_ALL_PATCHES = _PATCHES | {"top_k_patches": 8}
_SELECTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "select_grad=weighted": {"select_grad": "weighted"},
    "select_grad=none (printed)": {"select_grad": "none"},
}
_COSINES = {"ground_score": "cosine", "ground_on": "norm"}
_NO_CONTRAST = {"loss_qv": False, "loss_qa": False, "loss_av": False}

CASES: list[Case] = [
    *(
        case
        for baseline in ("question_only", "late_fusion")
        for task in TASKS
        for case in cases(baseline, task, {"": {}}, base=_CLIP, steps=400)
    ),
    *cases("pstp", "second", _SELECTIONS, base=_SECONDS, recall=kept("segment_index")),
    *cases("pstp", "second", {"w/o TSSM": {"use_tssm": False}}, base=_SECONDS),
    *cases("pstp", "patch", _SELECTIONS, base=_PATCHES, recall=kept("patch_index")),
    *cases("pstp", "patch", {"w/o SRSM": {"use_srsm": False}}, base=_PATCHES),
    *cases(
        "pstp",
        "sounding",
        {"default": {}},
        base=_ALL_PATCHES,
        steps=1200,
        found=peak_of_kept("audio_patch_attn", "patch_index"),
    ),
    *cases("pstp", "sounding", {"w/o AVAM": {"use_avam": False}}, base=_ALL_PATCHES, steps=1200),
    *cases(
        "pstp",
        "elsewhere",
        {"default": {}, "w/o LGPM": {"use_lgpm": False}},
        base=_ELSEWHERE,
        steps=2000,
    ),
    *cases("avst", "second", {"default": {}}, found=peak_second("temporal_attn_visual")),
    *cases("avst", "second", {"temporal=false": {"temporal": False}}),
    *cases(
        "avst",
        "sounding",
        {"default (printed)": {}, "ground_temp=0.1": {"ground_temp": 0.1}},
        found=peak_patch("spatial_attn"),
    ),
    *cases("avst", "sounding", {"spatial=false": {"spatial": False}}),
    *cases(
        "tjstg",
        "patch",
        {
            "default": {},
            "cosines (code)": _COSINES,
            "cosines, ground_on=raw": _COSINES | {"ground_on": "raw"},
            "ground_on=norm": {"ground_on": "norm"},
            "cosines (code), ground_temp=0.1": _COSINES | {"ground_temp": 0.1},
        },
        steps=250,
        found=peak_patch("attn_joint"),
        word=right_word,
    ),
    *cases(
        "tjstg",
        "patch",
        {
            "default": {},
            "cosines (code)": _COSINES,
            "cosines (code), ground_temp=0.1": _COSINES | {"ground_temp": 0.1},
            "cosines (code), combine=softmax (printed)": _COSINES | {"combine": "softmax"},
        },
        steps=2000,
        found=peak_patch("attn_joint"),
        word=right_word,
    ),
    *cases(
        "tjstg",
        "patch",
        {"cosines (code), Adam eps 1e-12": _COSINES},
        steps=2000,
        epsilon=1e-12,
        found=peak_patch("attn_joint"),
        word=right_word,
    ),
    *cases(
        "tjstg",
        "patch",
        {"cosines (code), target_aware=false": _COSINES | {"target_aware": False}},
        steps=2000,
    ),
    *cases(
        "tjstg",
        "rare",
        {"cosines (code)": {}, "cosines (code), csl=false": {"csl": False}},
        base=_CLIP | _COSINES,
        steps=1600,
        scored="modality",
        heard=peak_second("temporal_attn_audio"),
        seen=peak_second("temporal_attn_visual"),
    ),
    *cases(
        "sasr",
        "second",
        {"default": {}, "temporal=qblock": {"temporal": "qblock"}},
        found=peak_second("temporal_attn_visual"),
    ),
    *cases("sasr", "second", {"ta=false": {"ta": False}}),
    *cases(
        "sasr",
        "sounding",
        {
            "default": {},
            "ground_temp=0.1": {"ground_temp": 0.1},
            "sa_norm=dot (printed)": {"sa_norm": "dot"},
        },
        found=peak_patch("spatial_attn"),
    ),
    *cases("sasr", "sounding", {"sa=false": {"sa": False}}),
    *cases(
        "sasr",
        "cued",
        {
            "default": {},
            "slt=false": {"slt": False},
            "sasr=false": {"sasr": False},
            "slt=false, sasr=false": {"slt": False, "sasr": False},
        },
        base={"num_sources": PLACES},
    ),
    *cases(
        "mcd",
        "second",
        {
            "default": {},
            "negatives=matched (printed)": {"negatives": "matched"},
            "tau=0.07": {"tau": 0.07},
        },
        base={"num_frames": 8} | _CLIP,
    ),
    *cases(
        "mcd",
        "second",
        {
            "default": {},
            "losses off": _NO_CONTRAST,
            "losses off, N=1": _NO_CONTRAST | {"num_blocks": 1},
            "losses off, N=1, aggregator=literal (printed)": _NO_CONTRAST
            | {"num_blocks": 1, "aggregator": "literal"},
            "losses off, N=1, no attention": _NO_CONTRAST
            | {"num_blocks": 1, "self_attention": "none", "cross_query": "none"},
        },
        base={"num_frames": 8} | _CLIP,
        steps=1200,
    ),
    *cases(
        "mcd",
        "cued",
        {
            "losses off, N=1": {},
            "losses off, N=1, no attention": {"self_attention": "none", "cross_query": "none"},
        },
        base={"num_frames": 10, "num_blocks": 1} | _CLIP | _NO_CONTRAST,
        steps=1200,
    ),
    *cases(
        "mcd",
        "sense",
        {
            "losses off, N=1": {},
            "losses off, N=1, text_objects=false": {"text_objects": False},
        },
        base={"num_frames": 8, "num_blocks": 1} | _NO_CONTRAST,
        steps=2800,
    ),
    *cases(
        "avaf",
        "second",
        {
            "default (printed L_temp)": {},
            "tacl=false": {"tacl": False},
            "temp_loss=fnac": {"temp_loss": "fnac"},
            "tacl=false, avcm=false": {"tacl": False, "avcm": False},
        },
    ),
    *cases(
        "avaf",
        "patch",
        {
            "default (printed L_temp)": {},
            "tacl=false": {"tacl": False},
            "tacl=false, avcm=false": {"tacl": False, "avcm": False},
        },
    ),
    *cases(
        "avaf",
        "attribute",
        {
            "tacl=false": {"tacl": False},
            "tacl=false, avcm=false": {"tacl": False, "avcm": False},
        },
    ),
    *(
        case
        for task in ("modality", "sense")
        for case in (
            *cases("avaf", task, {"tacl=false": {"tacl": False}}, picture_asked=follows_asked),
            *cases("avaf", task, {"tacl=false, qoaf=false": {"tacl": False, "qoaf": False}}),
        )
    ),
    *cases(
        "qa_tiger",
        "second",
        {
            "default": {},
            "gaussian=false": {"gaussian": False},
            "routing=uniform": {"routing": "uniform"},
            "gaussian=false, routing=uniform": {"gaussian": False, "routing": "uniform"},
        },
        second=peak_second("second_weight_visual"),
    ),
    *(
        case
        for task in ("modality", "worded")
        for case in cases(
            "qa_tiger",
            task,
            {
                "default, rate 3e-4": {},
                "question_fusion=false, rate 3e-4": {"question_fusion": False},
            },
            steps=4000,
            rate=3e-4,
        )
    ),
    *cases("qa_tiger", "patch", {"default": {}}, patch=of_frame("patch_attn")),
    *cases("qa_tiger", "patch", {"patches=false": {"patches": False}}),
    *cases(
        "cuespace",
        "second",
        {"default": {}, "routing=uniform": {"routing": "uniform"}},
        second=peak_second("second_weight_visual"),
    ),
    *cases(
        "cuespace",
        "modality",
        {
            "default, rate 3e-4": {},
            "question_fusion=false, rate 3e-4": {"question_fusion": False},
            "collaborative=false, rate 3e-4": {"collaborative": False},
        },
        steps=3000,
        rate=3e-4,
    ),
    *cases(
        "cuespace",
        "patch",
        {"default, rate 3e-4": {}},
        steps=3000,
        rate=3e-4,
        patch=peak_patch("patch_attn"),
    ),
    *cases(
        "cuespace", "patch", {"patches=false, rate 3e-4": {"patches": False}}, steps=3000, rate=3e-4
    ),
    *cases(
        "tspm",
        "second",
        {
            "default": {},
            "selector_grad=none": {"selector_grad": "none"},
            "prompt=question": {"prompt": "question"},
            "av_attention=false": {"av_attention": False},
        },
        base={"topk": 2},
        kept=kept("second_index"),
    ),
    *cases("tspm", "second", {"temporal=false": {"temporal": False}}, base={"topk": 2}),
    *cases("tspm", "sounding", {"default": {}}, patch=peak_patch("token_attn")),
    *cases("tspm", "sounding", {"spatial=false": {"spatial": False}}),
]
