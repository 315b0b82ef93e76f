"""Building a variant's head for a data set and a store, and what of the store it reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from avqa import heads
from avqa.datasets._parts.vocabulary import MUSIC_AVQA
from avqa.errors import ConfigError, RecipeMismatch
from avqa.heads import VIDEO_FEATURES, Head
from avqa.store.reader import FeatureStore
from avqa.training.data.material import Material
from avqa.training.data.names import names_of, num_patches, require_texts, text_names
from avqa.training.settings import TrainSettings
from avqa.training.variants import Variant


def needs(variant: Variant, **options: Any) -> tuple[str, ...]:
    """Fields of `HeadInput` that a variant reads, found without making its weights.

    Raises:
        ConfigError: the head refuses its options.
    """
    return _weightless(variant, **options).needs


def texts(variant: Variant, settings: TrainSettings, **options: Any) -> dict[str, str]:
    """Field of `HeadInput` → feature of texts that a variant reads it from.

    Raises:
        ConfigError: the head refuses its options.
    """
    return text_names(_weightless(variant, **options), settings.text)


def _weightless(variant: Variant, **options: Any) -> Head:
    with torch.device("meta"):
        return _build(variant.head, variant.options | options)


def video_fields(variants: Iterable[Variant]) -> list[str]:
    """Those fields of the videos that any of the variants reads."""
    read = {field for variant in variants for field in needs(variant)}
    return [field for field in VIDEO_FEATURES if field in read]


def derived(variant: Variant, material: Material, settings: TrainSettings) -> dict[str, Any]:
    """The options that nobody chooses: they follow from the data set, the head and the store.

    Raises:
        ConfigError: the head refuses them, or would need two widths of one kind of features.
        FeatureMissing: the store lacks a text; names the command to run.
    """
    answer = "choices" if material.multiple_choice else "vocabulary"
    vocabulary = material.vocabulary
    fields = needs(variant, answer=answer)
    options = {
        "answer": answer,
        # With options there is no layer of answers; its number stays what it was.
        "num_answers": len((vocabulary if vocabulary.answers else MUSIC_AVQA).answers),
        "vocabulary": vocabulary.num_words(type_words="type_tokens" in fields),
    }
    store = material.store
    videos = [field for field in fields if field in VIDEO_FEATURES]
    names = names_of(settings, videos, store)
    for field, name in names.items():
        width = heads.coded_width(store.zero_rows(name, 1).shape[-1], variant.options["time_code"])
        option = heads.width_option(variant.options, field)
        _set_width(variant, options, option, width, names.values(), "visual or patch")
    of_texts = texts(variant, settings, answer=answer)
    require_texts(store, of_texts.values())
    first = material.questions.train[0]
    for field, name in of_texts.items():
        width = store.read_text(first.text, name).shape[-1]
        option = heads.width_option(variant.options, field)
        _set_width(variant, options, option, width, of_texts.values(), "text")
    return options


def _set_width(
    variant: Variant,
    options: dict[str, Any],
    option: str,
    width: int,
    names: Iterable[str],
    setting: str,
) -> None:
    if options.setdefault(option, width) != width:
        raise ConfigError(
            f"head {variant.head}: {' and '.join(dict.fromkeys(names))} have {option}="
            f"{options[option]} and {width}; expected one width; choose another --set {setting}"
        )


def build(variant: Variant, options: dict[str, Any], seed: int) -> Head:
    """A head whose first weights follow from the seed alone, not from what was built before.

    Raises:
        ConfigError: the head refuses its options.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(variant.head, options)


def _build(head: str, options: dict[str, Any]) -> Head:
    try:
        return heads.build(head, **options)
    except ValueError as error:
        raise ConfigError(f"head {head}: {error}; change it with --set") from error


def check_answers(head: Head, settings: TrainSettings, store: FeatureStore | None = None) -> None:
    """Refuse a head whose last layer is not of the answers that its options name.

    Raises:
        ConfigError: a head that always has MUSIC-AVQA's, for instance.
    """
    expected = head.options.num_answers
    if head.options.answer == "vocabulary" and expected != len(MUSIC_AVQA.answers):
        patches = num_patches(settings, store)
        inputs = heads.random_input(head, batch=1, seconds=1, patches=patches)
        with torch.no_grad():
            found = head.eval()(inputs).logits.shape[1]
        if found != expected:
            raise ConfigError(
                f"head {head.name} gives {found} answers whatever num_answers is; expected"
                f" num_answers={expected}, those of the training questions; build its last layer"
                " with avqa.heads.AnswerLayer, or choose another head"
            )


def described(
    head: Head, store: FeatureStore, settings: TrainSettings
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], str]:
    """Name, recipe and its hash of every feature a head reads: of videos, of texts; the weights.

    The weights are all sources of them, random ones first; empty where no network made any.
    """
    videos = [field for field in head.needs if field in VIDEO_FEATURES]
    features = {
        field: {"name": name, **store.made_by(name)}
        for field, name in names_of(settings, videos, store).items()
    }
    if "patch" in features:
        features["patch"]["patches"] = num_patches(settings, store)
    names = dict.fromkeys(text_names(head, settings.text).values())
    texts = {name: store.made_by(name) for name in names}
    return features, texts, _weights([*features.values(), *texts.values()])


def require_shapes(
    features: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], store: FeatureStore
) -> None:
    """Refuse a store whose rows are wider or have other patches than those a head was trained on.

    Args:
        features: field of `HeadInput` → what `described` says of it.
        options: of the head.
        store: which holds the features.

    Raises:
        RecipeMismatch: names the first that differs, with both.
    """
    for field, entry in features.items():
        name, option = str(entry["name"]), heads.width_option(options, field)
        *axes, width = store.row_layout(name).shape
        width = heads.coded_width(width, options.get("time_code", "none"))
        patches, known = math.prod(axes), entry.get("patches")
        if width == options.get(option, width) and known in (None, patches):
            continue
        of = "" if known is None else f" and {patches} patches"
        expected = "" if known is None else f" and {known} patches"
        raise RecipeMismatch(
            f"store {str(store.path)!r}: {name} has rows of width {width}{of}; expected"
            f" {option}={options[option]}{expected}, as the head was trained on; give the store of"
            " the run with --store, or train on this one",
            (name,),
        )


def _weights(entries: Iterable[dict[str, Any]]) -> str:
    sources = {
        str(weights["source"])
        for entry in entries
        for weights in entry["recipe"].get("weights", {}).values()
    }
    return ", ".join(sorted(sources, key=lambda s: (not s.startswith("random:"), s)))
