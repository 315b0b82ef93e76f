"""What to train and how: the paper's recipe, an ablation's options, a file, single values.

One flat set of keys: the fields of `TrainSettings` and the options of the head. Later ones win:

    paper  <  its values for the data set  <  ablation  <  --config FILE  <  --set key=value
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from avqa import heads
from avqa.errors import ConfigError, UnknownName

DERIVED = {
    "audio_width": "the store's features",
    "visual_width": "the store's features",
    "patch_width": "the store's features",
    "word_width": "the store's features",
    "band_width": "the store's features",
    "text_width": "the store's features",
    "vocabulary": "what the head reads",
    "num_answers": "the data set",
    "answer": "the data set",
    "num_sources": "the data set",
}
"""Options that nobody chooses → what they follow from."""
BETA2 = 0.999
"""Of Adam: how much of the mean of its squared gradients each step keeps."""
Missing = Literal["error", "skip", "masked", "zeros"]
Dub = Literal["honour", "ignore"]
WITHOUT_AUDIO = {"masked": "it is masked", "zeros": "zeros stand for it"}
"""Values of ``missing`` with which videos without audio are read → what is said of it."""
LATER: dict[str, Any] = {
    "audio": "vggish",
    "max_answers": 1000,
    "min_answer_count": 1,
    "rare_answers": "skip",
    "min_word_count": 1,
    "batches": "grouped",
    "exchange": "none",
    "dub": "ignore",
    "weight_decay": 0.0,
    "patch": "visual",
    "text": "clip_vit_b32",
    "beta1": 0.9,
    "decay": "step",
    "debias": "none",
    "bias": "qav",
    "distance": "l2",
    "bias_ce": 0.0,
    "bias_detach": False,
}
"""Settings that version 0.1 had not → what it did."""
_OF_DEBIAS = ("bias", "distance", "bias_ce", "bias_detach")
CUSTOM = "custom"
"""The data set that is no paper's: the user's own."""
_OF_CUSTOM = {"pack": True, "forget_bias": 2.0}
"""What a question's LSTM takes there: the papers' recipes stand for the papers' data."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a head is trained; what the paper's `Recipe` has is as there by default.

    Raises:
        ValueError: names every value that cannot be used.
    """

    epochs: int
    batch_size: int
    """Questions per step."""
    learning_rate: float
    """Of Adam, which is AdamW where there is a ``weight_decay``."""
    step_epochs: int
    """The learning rate is multiplied by ``gamma`` after every so many epochs."""
    gamma: float
    """Not used with ``decay=linear``."""
    stride_seconds: int
    """Every how many seconds a row of a video is taken."""
    visual: str
    """Encoder of the frames' features: of avqa, or one that the store's imported ones are from; or
    one feature, such as ``clip_vit_l14_336/frame@tome``."""
    audio: str = "vggish"
    """Encoder of the audio's features."""
    patch: str = "visual"
    """What patches are read from: the encoder of the frames (``visual``), another, or a feature."""
    text: str = "clip_vit_b32"
    """Encoder of the questions' features, for heads that read them so (``question=clip``)."""
    max_seconds: int = 60
    """Seconds of a video that are read; later ones are cut off."""
    split: Literal["official", "video"] = "official"
    """The splits of the files, or new ones that share no video."""
    missing: Missing = "error"
    """Videos without a needed feature: stop, or leave their questions out. Those that lack audio
    alone may be read: ``masked`` hides it from the head, ``zeros`` are read as if they were
    sound; both stop for all others."""
    dub: Dub = "honour"
    """Questions that name another video's sound (MUSIC-AVQA-v2.0): hear that, cut or filled with
    zeros to the length of the pictures, or ``ignore`` it, as all published loaders do."""
    max_answers: int = 1000
    """Most answers of a vocabulary that is built from training questions; the frequent ones."""
    min_answer_count: int = 1
    """Training questions that an answer needs to be one of them."""
    rare_answers: Literal["skip", "other"] = "skip"
    """Training questions with other answers: leave them out, or teach them as ``<other>``."""
    min_word_count: int = 1
    """Times that a word of the training questions needs to occur for a head to learn it."""
    batches: Literal["auto", "shuffled", "grouped", "together"] = "auto"
    """Order of the training questions: shuffled, as in the papers, or so that those about one video
    stay close and it is read once; ``auto``: shuffled where all features fit into memory."""
    weight_decay: float = 0.0
    """Of AdamW: after every step each weight loses this times the learning rate of itself."""
    beta1: float = 0.9
    """Of Adam: how much of its mean gradient each step keeps."""
    decay: Literal["step", "linear"] = "step"
    """How the learning rate falls: in steps, or after ``step_epochs`` in a straight line, which
    would meet zero after the last epoch."""
    exchange: Literal["none", "yes", "both"] = "none"
    """Comparisons that are trained on the other way round, too, with the answer exchanged: those
    answered with yes; or both, which is right where no two are alike (`avqa synth`)."""
    debias: Literal["none", "mccd"] = "none"
    """``mccd``: bias learners beside the head, in training alone; what follows is theirs."""
    bias: Literal["qav", "qa", "qv", "av", "q", "a", "v"] = "qav"
    """Inputs that have one: question, audio, frames."""
    distance: Literal["l2", "kl"] = "l2"
    """Of their answers from the head's: of the logits, or of the probabilities."""
    bias_ce: float = 0.0
    """Weight of their cross-entropy; 0 as released, where no label reaches them."""
    bias_detach: bool = False
    """Whether their gradient ends before what the head makes of its inputs."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int = 0
    """Processes that prepare batches; 0 prepares them in the training process."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                yield f"{name}={value!r}; expected one of {', '.join(get_args(hint))}"
            if hint is int and value < (0 if name == "workers" else 1):
                yield f"{name}={value}; expected {0 if name == 'workers' else 1} or more"
        for name in ("learning_rate", "gamma"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                yield f"{name}={value}; expected more than 0"
        if not 0 <= self.beta1 < 1:
            yield f"beta1={self.beta1}; expected at least 0 and under 1"
        for name in ("weight_decay", "bias_ce"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                yield f"{name}={value}; expected 0 or more"
        idle = [
            f"{name}={getattr(self, name)}"
            for name in _OF_DEBIAS
            if self.debias == "none" and getattr(self, name) != LATER[name]
        ]
        if idle:
            yield (
                f"{', '.join(idle)} without bias learners; expected debias=mccd beside it; add"
                " --debias mccd, or leave it out"
            )

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainSettings:
        """Those of a run, which may be of a version before.

        Raises:
            TypeError, ValueError: some are missing or strange.
        """
        return cls(**{**LATER, **value})

    @property
    def order(self) -> Literal["shuffled", "grouped", "together"]:
        """``batches``, once it is decided.

        Raises:
            ValueError: it is not, which a run does once for all that train in it.
        """
        if self.batches == "auto":
            raise ValueError(
                "batches='auto'; expected shuffled, grouped or together; decide before training"
            )
        return self.batches

    @property
    def num_rows(self) -> int:
        """Most rows of a video that a head is given."""
        return -(-self.max_seconds // self.stride_seconds)


def resolve(
    head: str,
    assignments: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    ablation: str | None = None,
    dataset: str | None = None,
    then: Mapping[str, Any] | None = None,
) -> tuple[TrainSettings, dict[str, Any]]:
    """Settings and head options: what the user gave over what the paper says.

    Args:
        head: one of `avqa.heads.names`.
        assignments: ``--set``: key → value as text.
        config: ``--config``: key → value as TOML has it.
        ablation: a row of the head's ``ABLATIONS``, whose options stand under both.
        dataset: what the paper's ``datasets`` has for it stands under the ablation.
        then: options of a run that goes on, as an earlier version had them by default.

    Returns:
        The settings, and every option of the head (`DERIVED` ones at their defaults).

    Raises:
        UnknownName: there is no such head or ablation.
        ConfigError: names all keys that do not exist, with the nearest that does, and all values
            that cannot be used.
    """
    module = heads.load(head)
    if ablation is not None and ablation not in module.ABLATIONS:
        raise UnknownName(f"ablation of {head}", ablation, module.ABLATIONS)
    own, its = get_type_hints(TrainSettings), get_type_hints(module.Options)
    if twice := sorted(own.keys() & its.keys()):
        raise ConfigError(
            f"head {head}: Options has {', '.join(twice)}, which training has a setting of;"
            " expected other names; rename them in the head"
        )
    hints = own | its
    values = of_paper(module) | of_dataset(module, dataset) | dict(then or {})
    values |= module.ABLATIONS[ablation].options if ablation is not None else {}
    problems: list[str] = []
    for given in (config or {}, assignments or {}):
        for key, value in given.items():
            problem = _key_problem(key, head, hints)
            if problem is None:
                parsed, problem = _parse(key, value, hints[key], text=given is assignments)
                if problem is None:
                    values[key] = parsed
            if problem is not None:
                problems.append(problem)
    settings, options = _build(module.Options, values, problems)
    if problems:
        row = f" (ablation {ablation})" if ablation else ""
        raise ConfigError(f"settings of {head}{row}: {'; '.join(dict.fromkeys(problems))}")
    assert settings is not None
    assert options is not None
    return settings, asdict(options)


def of_paper(module: Any) -> dict[str, Any]:
    """Settings as the paper trained."""
    recipe = module.PAPER.recipe
    own = {f.name for f in fields(TrainSettings)}
    return {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name in own}


def of_dataset(module: heads.HeadModule, dataset: str | None) -> dict[str, Any]:
    """What a head takes otherwise on a data set: setting or option → value."""
    entry = module.PAPER.datasets.get(dataset or "")
    ours = _OF_CUSTOM if dataset == CUSTOM else {}
    return {**ours, **(entry.values if entry else {})}


def dataset_note(
    head: str, dataset: str, settings: TrainSettings, options: Mapping[str, Any]
) -> str | None:
    """A line on what a head takes otherwise on a data set, but for what the user chose."""
    module = heads.load(head)
    given = {**vars(settings), **options}
    kept = {key: v for key, v in of_dataset(module, dataset).items() if given[key] == v}
    if options["question"] != "lstm":
        kept = {key: v for key, v in kept.items() if key not in _OF_CUSTOM}
    if not kept:
        return None
    values = ", ".join(f"{key}={_shown(value)}" for key, value in kept.items())
    entry = module.PAPER.datasets.get(dataset)
    note = entry.note if entry else "ours: as printed an LSTM forgets a question's first words"
    return f"{head} on {dataset}: {values} ({note})"


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _key_problem(key: str, head: str, hints: Mapping[str, Any]) -> str | None:
    if key in DERIVED and key in hints:
        return f"{key} follows from {DERIVED[key]}; expected no value; leave it out"
    if key in hints:
        return None
    near = difflib.get_close_matches(key, [k for k in hints if k not in DERIVED], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; expected a setting or option of {head}"
    return f"no setting {key!r}{hint}"


def _parse(key: str, value: Any, hint: Any, *, text: bool) -> tuple[Any, str | None]:
    """A value as its type has it, or what is wrong with it."""
    kinds = get_args(hint) if NoneType in get_args(hint) else (hint,)
    if NoneType in kinds and value == "none":
        return None, None
    kind = next(k for k in kinds if k is not NoneType)
    if get_origin(kind) is Literal or (kind is str and isinstance(value, str)):
        # Which values there may be is checked with all other values.
        return value, None
    expected = {
        int: "a whole number",
        float: "a finite number",
        bool: "true or false",
        str: "text",
    }[kind]
    try:
        return (_from_text(value, kind) if text else _from_toml(value, kind)), None
    except ValueError:
        return None, f"{key}={value if text else repr(value)}; expected {expected}"


def _from_text(value: str, kind: Any) -> Any:
    if kind is not bool:
        return _finite(kind(value))
    if value not in ("true", "false"):
        raise ValueError(value)
    return value == "true"


def _from_toml(value: Any, kind: Any) -> Any:
    if type(value) is kind or (kind is float and type(value) is int):
        return _finite(kind(value))
    raise ValueError(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(value)
    return value


def _build(
    options_type: type[heads.HeadOptions], values: dict[str, Any], problems: list[str]
) -> tuple[TrainSettings | None, heads.HeadOptions | None]:
    """Both parts; what is wrong with either is added to ``problems``."""
    own = {f.name for f in fields(TrainSettings)}
    settings: TrainSettings | None = None
    options: heads.HeadOptions | None = None
    try:
        settings = TrainSettings(**{k: v for k, v in values.items() if k in own})
    except ValueError as error:
        problems.append(str(error))
    try:
        options = options_type(**{k: v for k, v in values.items() if k not in own})
    except ValueError as error:
        problems.append(str(error))
    if settings and options and settings.exchange != "none" and options.question == "clip":
        problems.append(
            f"exchange={settings.exchange} with question=clip, whose texts are those of the files;"
            " expected question=positions or lstm"
        )
    most = None if options is None else options.most_rows
    if settings is not None and most is not None and settings.num_rows > most:
        gives = f"max_seconds={settings.max_seconds} gives {settings.num_rows} rows"
        problems.append(
            f"{gives} with num_seconds={most}; expected num_seconds={settings.num_rows} or more"
            if hasattr(options, "num_seconds")
            else f"{gives} with stride_seconds={settings.stride_seconds}; expected {most} at most;"
            " raise stride_seconds, or lower max_seconds to that of the longest video"
        )
    return settings, options
