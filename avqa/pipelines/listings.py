"""What `avqa encoders` and its like print."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from avqa.addresses import page
from avqa.errors import LibraryMissing, PluginError
from avqa.extract import readers
from avqa.extract.settings import DEFAULT_FEATURES
from avqa.telling import objects
from avqa.telling.found import Listing


def encoders() -> Listing[objects.Encoders]:
    """Every feature, family, encoder that cannot be used, and option of an encoder."""
    from avqa.extract import encoders as there

    return Listing(
        {
            "features": [_feature(name, there.tap_of(name)) for name in there.all_features()],
            "families": [
                {"how": family.HOW, "about": family.ABOUT}
                for family in map(there.FAMILIES.load, there.FAMILIES.names())
            ],
            "unusable": [*_unusable(there)],
            "options": [_option(key, there.option_of(key)) for key in there.all_options()],
        },
        _encoder_lines,
    )


def _feature(name: str, tap: Any) -> objects.Feature:
    return {
        "name": name,
        "shape": list(tap.shape),
        "dims": list(tap.dims),
        "bytes_per_minute": math.prod(tap.shape) * (1 if tap.dtype else 2) * 60,
        "sparse": tap.sparse,
        "default": name in DEFAULT_FEATURES,
    }


def _unusable(there: Any) -> Iterator[objects.Unusable]:
    for name in there.names():
        try:
            there.load(name)
        except (LibraryMissing, PluginError) as error:
            yield {"name": name, "problem": str(error)}


def _option(key: str, option: Any) -> objects.Option:
    others = (value for value in option.choices if value != option.default)
    choices = [option.default, *others]
    return {"name": key, "value": option.default, "choices": choices, "what": option.what}


def _encoder_lines(found: objects.Encoders) -> list[str]:
    lines = [f"{'feature':<32}{'per second':<18}{'MB/min':>8}  default  what"]
    for feature in found["features"]:
        shape = "×".join(map(str, feature["shape"]))
        default = "yes" if feature["default"] else "no"
        packed = " (before zstd)" if feature["sparse"] else ""
        lines.append(
            f"{feature['name']:<32}{shape:<18}{feature['bytes_per_minute'] / 1e6:>8.2f}"
            f"  {default:<7}  {', '.join(feature['dims'])}{packed}"
        )
    lines += [f"{one['how']:<32}{one['about']}" for one in found["families"]]
    lines += [f"{one['name']:<32}not usable: {one['problem']}" for one in found["unusable"]]
    lines += ["", "options, with --set; the first value is the default"]
    return lines + [
        f"  {option['name']}={'|'.join(map(str, option['choices']))}  {option['what']}"
        for option in found["options"]
    ]


def decoders() -> Listing[objects.Decoders]:
    """Every reader: its version, or why it cannot be used here."""
    return Listing({"decoders": [_decoder(name) for name in readers.names()]}, _decoder_lines)


def _decoder(name: str) -> objects.Decoder:
    version = problem = None
    try:
        version = readers.load(name).READER.version()
    except LibraryMissing as error:
        problem = f"not usable here: {error.__cause__ or error}"
    except PluginError as error:
        problem = f"not usable: {error}"
    return {"name": name, "default": name == "pyav", "version": version, "problem": problem}


def _decoder_lines(found: objects.Decoders) -> list[str]:
    lines = [
        f"{one['name'] + (' (default)' if one['default'] else ''):<16}"
        f"  {one['version'] or one['problem']}"
        for one in found["decoders"]
    ]
    return [*lines, f"what each one cannot read: {page('docs/decoders.md')}"]


def known_weights() -> Listing[objects.Weights]:
    """The weights of the frozen networks: whether each is here, digest, licence, address."""
    from avqa.extract.weights import list_weights

    weights: list[objects.Weight] = [
        {
            "name": one.name,
            "cached": one.cached,
            "sha256": one.digest or None,
            "licence": one.licence,
            "address": one.address or None,
        }
        for one in list_weights()
    ]
    return Listing({"weights": weights}, _weights_lines)


def _weights_lines(found: objects.Weights) -> list[str]:
    return [
        f"{one['name']:<16} {'cached' if one['cached'] else 'absent':<7} {_digest(one['sha256'])}"
        f"  {one['licence']}  {one['address'] or ''}"
        for one in found["weights"]
    ]


def _digest(found: str | None) -> str:
    return f"sha256 {found[:8]}…" if found else "sha256 unknown "


LISTED_SECONDS, LISTED_PATCHES = 60, 49


def all_heads() -> Listing[objects.Heads]:
    """Each head: inputs, parameters, FLOPs, and what its paper prints."""
    from avqa import heads

    return Listing(
        {
            "seconds": LISTED_SECONDS,
            "patches": LISTED_PATCHES,
            "heads": [_head(name) for name in heads.names()],
        },
        _head_lines,
    )


def _head(name: str) -> objects.Head:
    from avqa import heads

    found: objects.Head = {
        "name": name,
        "problem": None,
        "parameters": None,
        "gflops": None,
        "paper_parameters_millions": None,
        "paper_gflops": None,
        "needs": [],
        "stride_seconds": None,
        "figures": [],
    }
    try:
        paper = heads.load(name).PAPER
    except (LibraryMissing, PluginError) as error:
        return {**found, "problem": str(error)}
    head = heads.build(name)
    stride = paper.recipe.stride_seconds
    flops = heads.count_flops(head, seconds=-(-LISTED_SECONDS // stride), patches=LISTED_PATCHES)
    return {
        **found,
        "parameters": heads.count_parameters(head),
        "gflops": flops / 1e9,
        "paper_parameters_millions": paper.parameters_millions,
        "paper_gflops": paper.gflops,
        "needs": list(head.needs),
        "stride_seconds": stride,
        "figures": [figures_of(row) for row in paper.figures],
    }


def figures_of(row: Any) -> objects.Figures:
    """`avqa.heads.Figures` as an object."""
    return {
        "name": row.name,
        "source": row.source,
        "values_percent": dict(row.values),
        "annotation": row.annotation,
        "consistent": row.consistent,
        "note": row.note,
    }


def _head_lines(found: objects.Heads) -> list[str]:
    return [
        f"one question about {found['seconds']} s, {found['patches']} patches a frame; FLOPs as"
        " torch counts them (2 per multiply-add, LSTMs left out); accuracy in percent on"
        " MUSIC-AVQA as printed, u/o = updated/original annotation, ! = its averages do not"
        " follow from its cells",
        f"{'head':<14} {'parameters':>11} {'GFLOPs':>7}  {'paper':>16}  inputs; accuracy",
        *map(_head_line, found["heads"]),
    ]


def _head_line(head: objects.Head) -> str:
    if head["problem"] is not None:
        return f"{head['name']:<14} not usable: {head['problem']}"
    costs = ((head["paper_parameters_millions"], " M"), (head["paper_gflops"], " G"))
    printed = " / ".join("-" if value is None else f"{value}{unit}" for value, unit in costs)
    rows = [_printed(row) for row in head["figures"] if "All" in row["values_percent"]]
    stride = head["stride_seconds"] or 1
    needs = ", ".join(head["needs"]) + (f" every {stride} s" if stride > 1 else "")
    return (
        f"{head['name']:<14} {head['parameters']:>11,} {head['gflops']:>7.2f}  {printed:>16}  "
        + "; ".join([needs, *rows])
    )


def _printed(row: Mapping[str, Any]) -> str:
    mark = f"{row['annotation']}{'' if row['consistent'] else '!'}"
    return f"{row['name']} {row['values_percent']['All']:.2f} ({mark})"
