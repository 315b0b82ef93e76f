"""Recipes as plain dictionaries: canonical form, hash, difference, and what they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from avqa.errors import RecipeMismatch

HASH_DIGITS = 12
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


def has_random_weights(recipe: Mapping[str, Any]) -> bool:
    """Whether any weights of a feature's recipe are seeded random ones."""
    sources = recipe.get("weights", {}).values()
    return any(str(source.get("source", "")).startswith("random:") for source in sources)


def is_imported(recipe: Mapping[str, Any]) -> bool:
    """Whether a feature was made elsewhere: the recipe says where it lay, not how it was made."""
    return "imported" in recipe


def is_audio(recipe: Mapping[str, Any]) -> bool:
    """Whether an imported feature is of the sound; what was in .npy files does not say it."""
    return bool(recipe.get("imported", {}).get("stream") == "audio")


def is_of_whole_video(recipe: Mapping[str, Any]) -> bool:
    """Whether the one row of a video describes all of it, not its first second."""
    return bool(recipe.get("imported", {}).get("span") == "video")


def making_command(recipe: Mapping[str, Any]) -> str:
    """The command that makes a feature of videos, or takes it in."""
    if not is_imported(recipe):
        return "avqa extract"
    return f"avqa import {recipe['imported'].get('format', 'npy')}"


@dataclass(frozen=True)
class Difference:
    """A dotted key of recipes whose value is one on this side and another on that."""

    key: str
    values: tuple[str, str]
    """JSON text of both; ``(none)`` where a side lacks the key."""
    features: tuple[str, ...] = ()
    """Those it concerns."""

    def line(self, sides: tuple[str, str]) -> str:
        """``key: store=... asked=... (feature, feature)``; ``sides`` names both."""
        told = " ".join(f"{side}={value}" for side, value in zip(sides, self.values, strict=True))
        of = f" ({', '.join(self.features)})" if self.features else ""
        return f"{self.key}: {told}{of}"


def require_same(
    what: str,
    differing: Sequence[Difference],
    advice: str = "",
    *,
    sides: tuple[str, str] = ("store", "asked"),
) -> None:
    """Refuse what was made, or would be, by another recipe: in the same words everywhere.

    Args:
        what: begins the message, such as ``store 'S'``.
        differing: as `diff_features` or `diff_recorded` gives it; empty: nothing to refuse.
        advice: what to do.
        sides: names of the two that were compared.

    Raises:
        RecipeMismatch: names every differing key with both values, and its features.
    """
    if differing:
        lines = "; ".join(difference.line(sides) for difference in differing)
        raise RecipeMismatch(
            f"{what}: another recipe: {lines}; expected the same{f'; {advice}' if advice else ''}",
            keys=[difference.key for difference in differing],
        )


def diff_recipes(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    """Every dotted key whose value differs, sorted by key.

    Values are compared by their JSON text, so ``1`` and ``1.0`` differ, as their hashes do.
    """
    left, right = flat(first), flat(second)
    return [
        Difference(key, (left.get(key, "(none)"), right.get(key, "(none)")))
        for key in sorted(left.keys() | right.keys())
        if left.get(key, _ABSENT) != right.get(key, _ABSENT)
    ]


def diff_features(
    stored: Mapping[str, Mapping[str, Any]],
    asked: Mapping[str, Mapping[str, Any]],
    shared: Sequence[str] = (),
) -> list[Difference]:
    """Differences between two sets of recipes, each once, in the order they are found.

    Args:
        stored: feature → recipe of a store.
        asked: feature → recipe asked for.
        shared: top-level keys that all features must agree on; of a feature that is not
            stored only these are compared, with any that is.
    """
    found: dict[str, list[Difference]] = {}
    for feature, recipe in asked.items():
        known = stored.get(feature)
        if known is None:
            known = {k: v for k, v in next(iter(stored.values()), {}).items() if k in shared}
            recipe = {k: v for k, v in recipe.items() if k in known}
        found[feature] = diff_recipes(known, recipe)
    return _by_key(found)


def diff_recorded(
    recorded: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[Difference]:
    """As `diff_features`, of features that both sides have, by what a run keeps of each.

    Args:
        recorded: feature → ``recipe_hash``, and ``recipe`` unless only the hash was kept.
        now: the same of today.
    """
    found: dict[str, list[Difference]] = {}
    for feature in recorded.keys() & now.keys():
        old, new = recorded[feature], now[feature]
        if old["recipe_hash"] != new["recipe_hash"]:
            hashes = Difference(
                "recipe_hash (all that was recorded)",
                (old["recipe_hash"][:HASH_DIGITS], new["recipe_hash"][:HASH_DIGITS]),
            )
            known = "recipe" in old and "recipe" in new
            found[feature] = diff_recipes(old["recipe"], new["recipe"]) if known else [hashes]
    return _by_key({feature: found[feature] for feature in now if feature in found})


def _by_key(found: Mapping[str, Sequence[Difference]]) -> list[Difference]:
    features: dict[Difference, list[str]] = {}
    for feature, differing in found.items():
        for difference in differing:
            features.setdefault(difference, []).append(feature)
    return [replace(one, features=tuple(names)) for one, names in features.items()]


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
