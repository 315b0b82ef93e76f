"""Which feature of a store a head's field is read from: by the encoder that a run names.

Encoders are those of avqa and, since features can be imported that avqa has no networks of, those
of the store's imported features.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from avqa.errors import ConfigError, FeatureMissing, nearest
from avqa.extract import encoders
from avqa.heads import OF_SOUND, Head
from avqa.store.format.recipe_diff import is_audio, is_imported
from avqa.store.format.texts import questions_command
from avqa.store.reader import FeatureStore
from avqa.store.views.readable import RowLayout
from avqa.training.settings import TrainSettings

AXES = {"audio": (1,), "frame": (1,), "patch": (2, 3), "bands": (2,)}
"""Field of `HeadInput` → axes of a tap that can be it: ``(D,)``, ``(P, D)`` or ``(y, x, D)``."""
SHAPES = {"audio": "(D,) of audio", "frame": "(D,)", "patch": "(P, D) or (y, x, D)"}
SHAPES |= {"bands": "(F, D) of audio"}
NAMING = ("visual", "patch")
"""Settings whose value may be a feature instead of an encoder."""
OF_SENTENCE = ("sentence", "choices", "prompt")
"""Fields of `HeadInput` that hold vectors of whole texts."""
OF_WORDS = ("words", "choice_words")
"""Those that hold one of each word."""
AS_VISUAL = "visual"
"""Value of ``patch``: patches are of the encoder that the frames are of."""
FRAMES = "frame"
"""First axis of imported rows that hold some frames each, ``(frames, D)``: ``frame`` is read from
them as their mean, and they have no patches."""


def feature_names(
    fields: Iterable[str],
    visual: str,
    audio: str = "vggish",
    store: FeatureStore | None = None,
    patch: str = AS_VISUAL,
) -> dict[str, str]:
    """Field of `HeadInput` → feature of a store: ``{"audio": "vggish/audio", ...}``.

    Args:
        fields: `Head.FEATURES`, or `Head.needs`, of which texts are left out.
        visual: encoder of the frames, or the feature itself.
        audio: encoder of the audio and of its bands.
        store: its imported features count, too.
        patch: encoder of the patches, or the feature itself; ``visual``: that of the frames.

    Raises:
        ConfigError: there is no such encoder, or it has no tap of the field's shape.
    """
    of = {"frame": ("visual", visual), "patch": ("patch", patch)}
    of |= dict.fromkeys(OF_SOUND, ("audio", audio))
    if patch == AS_VISUAL:
        named = _named_feature("frame", visual, store)
        of["patch"] = ("visual", visual if named is None else named.rpartition("/")[0])
    return {field: _feature(field, *of[field], store) for field in fields if field in AXES}


def names_of(
    settings: TrainSettings, fields: Iterable[str], store: FeatureStore | None = None
) -> dict[str, str]:
    """The `feature_names` that a run's settings name."""
    return feature_names(fields, settings.visual, settings.audio, store, settings.patch)


def source_of(feature: str) -> str | None:
    """The tap that says which token of ``feature`` each patch of a frame went into, if any."""
    encoder, _, tap = feature.rpartition("/")
    source = f"{tap}_source"
    known = encoders.is_known(encoder) and source in encoders.load(encoder).TAPS
    return f"{encoder}/{source}" if known else None


def check_encoders(settings: TrainSettings, store: FeatureStore) -> None:
    """Refuse encoders that neither avqa has nor the store's imported features come from.

    Raises:
        ConfigError: names the setting and what there is.
    """
    _check("audio", settings.audio, store)
    if _named_feature("frame", settings.visual, store) is None:
        _check("visual", settings.visual, store)
    if settings.patch != AS_VISUAL and _named_feature("patch", settings.patch, store) is None:
        _check("patch", settings.patch, store)


def _check(setting: str, encoder: str, store: FeatureStore | None) -> None:
    encoder = encoders.full_name(encoder)
    held = dict.fromkeys(name.rpartition("/")[0] for name in _imported(store))
    known = dict.fromkeys((*encoders.names(), *held))
    if encoder not in known and not encoders.is_known(encoder):
        raise ConfigError(
            f"{setting}={encoder!r}; expected one of {', '.join(known)};{nearest(encoder, known)}"
            " see `avqa encoders`, and `avqa status` for what was imported into the store"
        )


def _imported(store: FeatureStore | None) -> Iterator[str]:
    if store is not None:
        yield from (name for name in store.features if is_imported(store.recipe(name)))


def _feature(field: str, setting: str, encoder: str, store: FeatureStore | None) -> str:
    """The encoder's first tap that has the field's shape, or what was imported in its place."""
    encoder = encoders.full_name(encoder)  # as it is typed
    if setting in NAMING and (named := _named_feature(field, encoder, store)) is not None:
        return named
    _check(setting, encoder, store)
    tap = _tap(field, encoder) if encoders.is_known(encoder) else None
    if store is None or tap in store.features:
        found = tap
    else:
        found = next(_fitting(field, encoder, store), tap)
    if found is None:
        raise ConfigError(
            f"{setting}={encoder} has no features for {field}; expected an encoder with a tap of"
            f" shape {SHAPES[field]}; see `avqa encoders`{_held(encoder, store)}"
        )
    return found


def _tap(field: str, encoder: str) -> str | None:
    module = encoders.load(encoder)
    kind = "audio" if field in OF_SOUND else "frame"
    for name, tap in module.TAPS.items():
        if tap.dtype is not None:  # whole numbers: places, no features
            continue
        if module.INPUTS[tap.input].kind == kind and len(tap.shape) in AXES[field]:
            return f"{encoder}/{name}"
    return None


def _named_feature(field: str, written: str, store: FeatureStore | None) -> str | None:
    """What is written, where it is a feature that the field can be read from, no encoder."""
    encoder, _, tap = encoders.full_name(written).rpartition("/")
    if encoders.is_known(encoder) and tap in (taps := encoders.load(encoder).TAPS):
        fits = len(taps[tap].shape) in AXES[field] and taps[tap].dtype is None
        return f"{encoder}/{tap}" if fits else None
    found = () if store is None else _fitting(field, encoder, store)
    return next((name for name in found if name == written), None)


def _fitting(field: str, encoder: str, store: FeatureStore) -> Iterator[str]:
    """Imported features of an encoder that the field can be read from, single vectors first."""
    own = [name for name in _imported(store) if name.rpartition("/")[0] == encoder]
    fitting = [
        name
        for name in own
        if is_audio(store.recipe(name)) == (field in OF_SOUND)
        and _fits(field, store.row_layout(name))
    ]
    yield from sorted(fitting, key=lambda name: is_frames(store.row_layout(name)))


def _fits(field: str, row: RowLayout) -> bool:
    if is_frames(row):
        return field == "frame"
    return len(row.shape) in AXES[field]


def is_frames(row: RowLayout) -> bool:
    """Whether a row holds the vectors of some frames, ``(frames, D)``."""
    return len(row.shape) == 2 and row.dims[:1] == (FRAMES,)


def _held(encoder: str, store: FeatureStore | None) -> str:
    own = [name for name in _imported(store) if name.rpartition("/")[0] == encoder]
    return f"; the store has {', '.join(own)}" if own else ""


def num_patches(settings: TrainSettings, store: FeatureStore | None = None) -> int:
    """P: patches of a frame as a run reads them; 1 where there are none."""
    try:
        feature = names_of(settings, ["patch"], store)["patch"]
    except ConfigError:
        return 1
    if store is not None and feature in store.features:
        return math.prod(store.row_layout(feature).shape[:-1])
    return math.prod(encoders.tap_of(feature).shape[:-1])


def is_ours(feature: str) -> bool:
    """Whether avqa has the network of a feature."""
    encoder, _, tap = feature.rpartition("/")
    return encoders.is_known(encoder) and tap in encoders.load(encoder).TAPS


def text_names(head: Head, encoder: str) -> dict[str, str]:
    """Field of `HeadInput` that a head needs → feature of texts: ``{"words": "…/word", ...}``.

    Args:
        head: says which words it reads (`Head.WORDS`).
        encoder: of the texts.
    """
    encoder = encoders.full_name(encoder)
    taps = dict.fromkeys(OF_SENTENCE, "sentence") | dict.fromkeys(OF_WORDS, head.WORDS)
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
    raise FeatureMissing(
        f"store {str(store.path)!r} has no {', '.join(absent)}; expected {', '.join(wanted)}, the"
        f" features of the questions; add with: {questions_command(store.path, wanted)}"
    )
