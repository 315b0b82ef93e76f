"""Which published convention explains what `avqa compare` found, and which recipe comes nearest.

Rules in order, the first that holds is told. They are hints from the papers' released scripts
(specification of features, sections 1 to 3), not proofs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from avqa.pipelines.npy.compared.match import Traits
from avqa.pipelines.npy.compared.ten import Ten

STEP = 6
"""Some heads keep every sixth second."""
_AUDIO_HOP = 0.96
ALIKE = 0.9
"""Below this cosine in the median the two sides have nothing in common."""


@dataclass(frozen=True)
class Facts:
    """What the rules look at."""

    audio: bool
    equal: bool
    ours: Traits
    theirs: Traits
    shift: int
    stepped: bool
    """Theirs were compared with every sixth row of ours."""
    median: float
    """Of the cosines at ``shift``."""
    openai: bool = False
    """Of a CLIP that OpenAI published."""
    ten: Ten = ""
    """What ten rows of theirs are."""
    behind_norm: str = ""
    """Whose rows seem to be the others behind a layer norm: ``ours``, ``theirs`` or neither."""

    @property
    def extra(self) -> int:
        """Rows of a usual video of theirs beyond ours."""
        return self.theirs.usual - self.ours.usual

    @property
    def always_60(self) -> bool:
        """Theirs have 60 rows whatever ours have."""
        return set(self.theirs.rows) == {60} and set(self.ours.rows) != {60}

    @property
    def hop_096(self) -> bool:
        """As many rows as there are 0.96 s in ours."""
        return self.extra > 0 and self.theirs.usual == int(self.ours.usual / _AUDIO_HOP)


@dataclass(frozen=True)
class Rule:
    """A convention, when it is likely, and the recipe that comes nearest to it."""

    holds: Callable[[Facts], bool]
    convention: str
    recipe: str


RULES = (
    Rule(
        lambda f: f.equal and f.openai and f.theirs.is_half and not f.ours.half,
        "ours in half precision, stored in a wider type",
        "--precision openai-fp16, as OpenAI's package computes on a GPU; near by cosine, not equal",
    ),
    Rule(
        lambda f: f.equal and f.theirs.is_half and not f.ours.half,
        "ours in half precision, stored in a wider type",
        "that of ours; a GPU in half precision made the files",
    ),
    Rule(lambda f: f.equal, "the same as ours", "that of ours"),
    Rule(
        lambda f: f.ten == "permuted" and f.median > ALIKE,
        "TSPM's ten rows in the order of a listing that nobody sorted",
        "--profile tspm; avqa export npy --layout tspm has them in the order of the seconds",
    ),
    Rule(
        lambda f: f.ten == "others" and f.median > ALIKE,
        "ten rows of other seconds, as TSPM's rule takes them out of a listing that nobody sorted",
        "--profile tspm; avqa export npy --layout tspm has ten seconds spread evenly",
    ),
    Rule(
        lambda f: f.ten == "sorted" and f.median > ALIKE,
        "TSPM's ten rows of the sorted frames",
        "--profile tspm; avqa export npy --layout tspm",
    ),
    Rule(
        lambda f: f.behind_norm == "theirs",
        "behind the last layer norm: hidden_states[-1] of transformers 4.56.2 to 4.57.1 and 5.0"
        " to 5.4",
        "ast/class and ast/band are before it, as of CueSpace's own version; make the files again",
    ),
    Rule(
        lambda f: f.behind_norm == "ours",
        "before the last layer norm, and ours behind it",
        "ast/class and ast/band",
    ),
    Rule(
        lambda f: f.theirs.is_repeated and not f.ours.is_repeated,
        "a broken patch script: the class token stands in place of every patch",
        "clip_vit_b32/patch is what the script meant; no recipe repeats its fault",
    ),
    Rule(
        lambda f: f.audio and f.theirs.is_bytes and not f.ours.is_bytes,
        "PCA and rounding to 8 bits, torchvggish's default",
        "--features vggish/audio_pca8",
    ),
    Rule(
        lambda f: f.audio and f.theirs.negatives > 0 and f.ours.negatives == 0,
        "taken before the last ReLU, as in the current TensorFlow model",
        "--features vggish/audio_pre_relu",
    ),
    Rule(
        lambda f: f.audio and f.hop_096,
        "one example every 0.96 s instead of every second",
        "--set vggish.audio_hop=0.96",
    ),
    Rule(
        lambda f: f.stepped,
        f"every {STEP}th second of ours",
        f"that of ours, every {STEP}th row: avqa export npy --layout tjstg",
    ),
    Rule(
        lambda f: not f.audio and f.extra == 2,
        "frames by `ffmpeg -r 1`: two extra rows in front, later ones lag",
        "--frame-at ffmpeg-r1, as in --profile pstp",
    ),
    Rule(
        lambda f: not f.audio and f.extra == 1,
        "frames by ffmpeg's rate conversion, one more than seconds",
        "--frame-at ffmpeg-r1 or ffmpeg-fps1",
    ),
    Rule(
        lambda f: not f.audio and f.always_60,
        "always 60 rows, short videos looped",
        "--frame-at music-avqa, as in --profile music-avqa",
    ),
    Rule(
        lambda f: f.always_60,
        "always 60 rows, padded or cut",
        "that of ours; avqa export npy --length 60 gives as many",
    ),
    Rule(
        lambda f: f.shift != 0 and f.median > ALIKE,
        "rows of theirs stand for other seconds than ours of the same number",
        "--frame-at start or ffmpeg-r1 shift rows; check that the videos are cut alike",
    ),
    Rule(
        lambda f: f.theirs.is_normalised and not f.ours.is_normalised and f.median > ALIKE,
        "L2-normalised rows",
        "that of ours; avqa stores no normalised rows, normalise when reading",
    ),
    Rule(
        lambda f: f.audio and f.median > ALIKE,
        "the same seconds by another resampler or reader",
        "--resample nearest44k, as in --profile music-avqa",
    ),
    Rule(
        lambda f: f.median > ALIKE,
        "other frames of the same seconds, or another resizing",
        "--frame-at start or music-avqa; --set clip_vit_b32.crop=squash or pad",
    ),
)
NONE = Rule(
    lambda f: True,
    "none known: another network, other weights or other videos",
    "none; check with `avqa weights verify` and the ids of the videos",
)


def explain(facts: Facts) -> Rule:
    """The first rule that holds."""
    return next((rule for rule in RULES if rule.holds(facts)), NONE)
