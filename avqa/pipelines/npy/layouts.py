"""Layouts as data: the set of folders that one repository reads, and which rows their files hold.

Names and shapes: specification of the heads, section 9.4, and of the features of 2025, sections
2, 3.2 and 10; steps: section 9.5 of the heads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from avqa.errors import ConfigError, UnknownName
from avqa.pipelines.npy.kinds import KINDS

USUAL_ROWS = 60
"""Rows that the published loaders count on."""
TEN_SECONDS = "tspm-10"
"""Of a recipe: rows are those of `ten_of` 60, in an order that nobody knows."""


def every_sixth(count: int) -> list[int]:
    """Rows that heads keep of longer maps: every sixth, at most ten; all if there are few."""
    return list(range(count)) if count <= 10 else list(range(0, count, 6))[:10]


def ten_of(count: int) -> list[int]:
    """Frames of which TSPM's script makes tokens: ten, the last frame never; one may come twice."""
    return [int(k) for k in np.linspace(0, max(count - 2, 0), 10)]


def sixty_of(count: int) -> list[int]:
    """Frames that CueSpace's script reads: all below 60, else 60 of them spread evenly."""
    if count < USUAL_ROWS:
        return list(range(count))
    return [int(k) for k in np.round(np.linspace(0, count - 1, USUAL_ROWS))]


@dataclass(frozen=True)
class Folder:
    """A folder of a layout whose files are named by video."""

    name: str
    """Its path below the layout's root; written on export."""
    kind: str
    needed: bool = True
    """The repository's own head cannot do without it."""
    pick: Callable[[int], list[int]] | None = None
    """Number of a video's rows → those that its file holds; None: all of them."""
    rows: int = USUAL_ROWS
    """Rows that the loader counts on; 0: any number."""
    strict: bool = False
    """Whether a file of another number of rows is none of the layout's."""
    longer: bool = False
    """Whether more rows are fine."""
    names: tuple[str, ...] = ()
    """Other paths, on import, beside those of the kind."""

    def fits(self, count: int) -> bool:
        """Whether a file of so many rows is one of the layout's."""
        return not self.strict or count == self.rows or (self.longer and count > self.rows)

    def is_at(self, path: str) -> bool:
        """Whether a folder at this path, relative to the root, is this one."""
        return _matches(path, (self.name, *self.names, *KINDS[self.kind].folders))


@dataclass(frozen=True)
class QuestionFolder:
    """A folder whose files, ``[1, *shape]``, are named by question."""

    name: str
    feature: str
    """Of texts, as in the store."""
    prompt: bool = False
    """Whether the text is the question's prompt, not the question."""
    mark: str = ""
    """After the question's text, when its features were made."""
    names: tuple[str, ...] = ()
    """Other paths, on import."""


_AUDIO = Folder("vggish", "vggish", strict=True)
_LARGE = Folder("frame_ViT-L14@336px", "clip_vit_l14", strict=True)
_TOKENS = ("visual_tome14", "tome14", "ToMe_feat/tome14")
"""Names under which repositories have tokens of one shape and of different networks."""

FRAMES = ("*frame*ViT-L14@336px", "clip_feats/*frame*ViT-L14@336px")
"""Names under which two networks' frames of one shape are published, the plain one's far more."""

LAYOUTS = {
    "pstp": (
        Folder("vggish", "vggish"),
        Folder("clip_vit_b32", "clip_vit_b32"),
        Folder("clip_patch-level_vit_b32", "clip_patch"),
    ),
    "music-avqa": (
        Folder("vggish", "vggish"),
        Folder("res18_14x14", "res18_14x14"),
        Folder("res18", "res18", needed=False),
        Folder("r2plus1d_18", "r2plus1d_18", needed=False),
    ),
    "tjstg": (
        Folder("vggish", "vggish"),
        Folder("res18_14x14", "res18_14x14", pick=every_sixth),
    ),
    "avaf": (
        Folder("vggish", "vggish"),
        Folder("clip_patch_vit32", "clip_patch"),
    ),
    "tspm": (
        _AUDIO,
        _LARGE,
        Folder("visual_tome14", "vit_l16_tome14", pick=ten_of, rows=10, strict=True, names=_TOKENS),
    ),
    "qa-tiger": (
        _AUDIO,
        _LARGE,
        Folder("visual_tome14", "vit_l16_tome14", strict=True, names=_TOKENS),
    ),
    "cuespace": (
        Folder(
            "frame_ViT-L14@336px",
            "clip_l14_frame_tome",
            pick=sixty_of,
            rows=0,
            names=KINDS["clip_vit_l14"].folders,
        ),
        Folder("visual_tome14", "clip_l14_tome14", pick=sixty_of, rows=0, names=_TOKENS),
        Folder("ast/audio_ast_cls", "ast_class", rows=0),
        Folder("ast/audio_ast_patch_last_pooled", "ast_band", rows=0),
    ),
    "av-master": (
        Folder("vggish_audio", "vggish", strict=True),
        Folder("clip_vit_l14_336px", "clip_vit_l14", strict=True, longer=True),
    ),
    "mccd": (
        _AUDIO,
        Folder("r2plus1d_18", "r2plus1d_18", strict=True),
    ),
}
"""Layout → folders whose files are named by video."""

UNREAD = {"tspm": "ToMe_feat/audio_tome14"}
"""Layout → folder that its loader opens for every video, and whose numbers nothing reads."""
PLACEHOLDER_SHAPE = (1, 1)
"""Of a file of `UNREAD`, float32."""

_SENTENCE = "clip_vit_l14_336/sentence"
QUESTIONS = {
    folder.name: folder
    for folder in (
        QuestionFolder("clip_qst", "clip_vit_b32/sentence"),
        QuestionFolder("clip_word", "clip_vit_b32/word", names=("clip_word_bert",)),
        QuestionFolder(
            "qst_ViT-L14@336px", _SENTENCE, mark="?", names=("clip_feats/qst_ViT-L14@336px",)
        ),
        QuestionFolder(
            "qaPrompt_ViT-L14@336px",
            _SENTENCE,
            prompt=True,
            mark="?",
            names=("clip_feats/qaPrompt_ViT-L14@336px",),
        ),
        QuestionFolder("clip_sentence_l14_336px", _SENTENCE),
        QuestionFolder("clip_word_l14_336px", "clip_vit_l14_336/word"),
    )
}
"""Name → folder whose files are named by question."""
OF_LAYOUT = {
    "pstp": ("clip_qst", "clip_word"),
    "avaf": ("clip_qst", "clip_word"),
    "tspm": ("qst_ViT-L14@336px", "qaPrompt_ViT-L14@336px"),
    "av-master": ("clip_sentence_l14_336px", "clip_word_l14_336px"),
}
"""Layout → names of the `QUESTIONS` that it reads."""
CHOICES = {"cuespace": "mcq_text_clip"}
"""Layout → its folder of .npz files named by question, of texts of multiple choice."""


def layout_named(name: str) -> tuple[Folder, ...]:
    """The folders of a layout.

    Raises:
        UnknownName: if there is no such layout.
    """
    if name not in LAYOUTS:
        raise UnknownName("layout", name, LAYOUTS)
    return LAYOUTS[name]


def folder_at(path: str, layout: str | None = None) -> Folder | None:
    """What a folder at this path, relative to the root, holds in published repositories.

    Args:
        path: parts separated by ``/``.
        layout: repository that it is from; needed for names that several use.

    Raises:
        UnknownName: no such repository is known.
        ConfigError: the name alone does not tell.
    """
    if layout is not None:
        return next((folder for folder in layout_named(layout) if folder.is_at(path)), None)
    if _matches(path, _TOKENS):
        raise ConfigError(
            f"folder {path!r} may hold tokens of two networks, both [T,14,1024]; expected which;"
            " say --kind vit_l16_tome14 (of TSPM and QA-TIGER) or --kind clip_l14_tome14 (of"
            " CueSpace), or to `avqa import` --from-layout tspm|qa-tiger|cuespace"
        )
    for kind in KINDS.values():
        if _matches(path, kind.folders):
            return Folder(path, kind.name)
    return None


def assumed_at(path: str, layout: str | None) -> str:
    """What is taken for granted of a known folder at this path; empty where its name tells all."""
    if layout is not None or not _matches(path, FRAMES):
        return ""
    return (
        "taken as clip_vit_l14_336/frame, as TSPM and QA-TIGER have it; CueSpace's files of this"
        " name are of the network that merges tokens: --from-layout cuespace, or --kind"
        " clip_l14_frame_tome, takes them as clip_vit_l14_336/frame@tome"
    )


def questions_at(path: str, layout: str | None = None) -> QuestionFolder | None:
    """The same of folders whose files are named by question."""
    known = QUESTIONS if layout is None else OF_LAYOUT.get(layout, ())
    folders = (QUESTIONS[name] for name in known)
    return next((f for f in folders if _matches(path, (f.name, *f.names))), None)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Part by part, so that a star never takes in a slash."""
    parts = path.split("/")
    return any(
        len(parts) == len(wanted)
        and all(fnmatchcase(part, one) for part, one in zip(parts, wanted, strict=True))
        for wanted in (pattern.split("/") for pattern in patterns)
    )
