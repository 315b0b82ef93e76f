"""Recipes as plain dictionaries: canonical form, hash and difference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

_ABSENT = object()


def canonical_json(recipe: Mapping[str, Any]) -> str:
    """The one text of a recipe: keys sorted, no spaces, ASCII only.

    Raises:
        ValueError: if a value is NaN or infinite: it would not equal itself.
        TypeError: if a value is none of JSON's types.
    """
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)


def recipe_hash(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(recipe).encode("ascii")).hexdigest()


def diff_recipes(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Every dotted key whose value differs, as ``key: store=... asked=...``, sorted by key.

    Values are compared by their JSON text, so ``1`` and ``1.0`` differ, as their hashes do.
    A key that one side lacks reads ``(none)`` there.
    """
    left, right = flat(stored), flat(asked)
    return [
        f"{key}: store={left.get(key, '(none)')} asked={right.get(key, '(none)')}"
        for key in sorted(left.keys() | right.keys())
        if left.get(key, _ABSENT) != right.get(key, _ABSENT)
    ]


def diff_features(
    stored: Mapping[str, Mapping[str, Any]],
    asked: Mapping[str, Mapping[str, Any]],
    shared: Sequence[str] = (),
) -> list[str]:
    """Differences between two sets of recipes, each once, with the features it concerns.

    Args:
        stored: feature → recipe of a store.
        asked: feature → recipe asked for.
        shared: top-level keys that all features must agree on; of a feature that is not
            stored only these are compared, with any that is.

    Returns:
        ``key: store=... asked=... (feature, feature)``, in the order they are found.
    """
    differing: dict[str, list[str]] = {}
    for feature, recipe in asked.items():
        known = stored.get(feature)
        if known is None:
            known = {k: v for k, v in next(iter(stored.values()), {}).items() if k in shared}
            recipe = {k: v for k, v in recipe.items() if k in known}
        for line in diff_recipes(known, recipe):
            differing.setdefault(line, []).append(feature)
    return [f"{line} ({', '.join(features)})" for line, features in differing.items()]


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted key → JSON text of its value."""
    found: dict[str, str] = {}
    for key, inner in value.items():
        # A key with a dot is quoted: it must not read like a key inside another.
        name = prefix + (json.dumps(key) if "." in key or '"' in key else key)
        if isinstance(inner, Mapping) and inner:
            found |= flat(inner, f"{name}.")
        else:
            found[name] = json.dumps(inner, sort_keys=True)
    return found
