"""Any of open_clip's models by name: ``open_clip:NAME:TAG``, stored as ``open_clip/NAME/TAG``.

The tag says which weights it is, and with them what open_clip's tables say of how they were
trained: activation, statistics, filter and what becomes of a frame that is no square. ``frame`` is
``encode_image`` without normalisation, for every model. Tokens there are where the tower is a
vision transformer: ``patch`` in the space of texts where open_clip's own tower has a projection
for them, else ``token``. Texts are read where the tower is CLIP's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avqa.errors import UnknownName, WeightsUnavailable
from avqa.extract import builds
from avqa.extract.encoders._parts.by_tag import NO_TAG, ByTag

HOW = "open_clip:NAME[:TAG]"
ABOUT = "any model and tag of open_clip's tables; /frame, and /patch or /token of transformers"


def full_name(written: str) -> str:
    """``NAME:TAG``, or ``NAME`` of a model that has one tag → ``NAME/TAG``.

    Raises:
        UnknownName: there is no such model or tag; names the nearest.
        WeightsUnavailable: the model has several tags; names them.
    """
    name, _, tag = written.partition(":")
    tags = tags_of(name)
    if not tag and len(tags) > 1:
        raise WeightsUnavailable(
            f"open_clip:{name} has {len(tags)} tags; expected one; name it as"
            f" open_clip:{name}:TAG with TAG one of {', '.join(tags)}"
        )
    return f"{name}/{tag or tags[0]}"


def tags_of(name: str) -> Sequence[str]:
    """Tags of a model; one that open_clip has no weights of has the tag ``none``.

    Raises:
        UnknownName: there is no such model.
    """
    builds.load()  # open_clip imports it
    import open_clip

    models = open_clip.list_models()
    if name not in models:
        raise UnknownName("model of open_clip", name, models)
    found: list[str] = open_clip.list_pretrained_tags_by_model(name)
    return found or [NO_TAG]


def member(rest: str) -> Any:
    """The encoder ``open_clip/<rest>``.

    Raises:
        UnknownName: there is no such model or tag; names the nearest.
    """
    name, _, tag = rest.partition("/")
    tags = tags_of(name)
    if tag not in tags:
        raise UnknownName(f"tag of open_clip:{name}", tag, tags)
    import open_clip

    config = open_clip.get_model_config(name)
    about = {} if tag == NO_TAG else open_clip.get_pretrained_cfg(name, tag)
    return ByTag(f"open_clip/{name}/{tag}", config, about)
