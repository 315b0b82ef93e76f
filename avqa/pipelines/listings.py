"""What `avqa encoders` and its like print."""

from __future__ import annotations

from avqa.addresses import page
from avqa.errors import LibraryMissing, PluginError
from avqa.extract import encoders, readers
from avqa.extract.settings import DEFAULT_FEATURES


def encoder_lines() -> list[str]:
    """One line per feature: name, shape per second, bytes per minute, whether it is a default.

    Then one per option of an encoder.
    """
    lines = [f"{'feature':<32}{'per second':<18}{'MB/min':>8}  default  what"]
    for feature in encoders.all_features():
        tap = encoders.tap_of(feature)
        values = 1
        for axis in tap.shape:
            values *= axis
        shape = "×".join(str(axis) for axis in tap.shape)
        megabytes = values * (1 if tap.dtype else 2) * 60 / 1e6
        default = "yes" if feature in DEFAULT_FEATURES else "no"
        packed = " (before zstd)" if tap.sparse else ""
        lines.append(
            f"{feature:<32}{shape:<18}{megabytes:>8.2f}  {default:<7}"
            f"  {', '.join(tap.dims)}{packed}"
        )
    for family in map(encoders.FAMILIES.load, encoders.FAMILIES.names()):
        lines.append(f"{family.HOW:<32}{family.ABOUT}")
    for name in encoders.names():
        try:
            encoders.load(name)
        except (LibraryMissing, PluginError) as error:
            lines.append(f"{name:<32}not usable: {error}")
    lines += ["", "options, with --set; the first value is the default"]
    for key in encoders.all_options():
        option = encoders.option_of(key)
        others = (value for value in option.choices if value != option.default)
        choices = "|".join(map(str, (option.default, *others)))
        lines.append(f"  {key}={choices}  {option.what}")
    return lines


def decoder_lines() -> list[str]:
    """One line per reader: its version, or why it cannot be used here."""
    lines = []
    for name in readers.names():
        default = " (default)" if name == "pyav" else ""
        try:
            version = readers.load(name).READER.version()
        except LibraryMissing as error:
            version = f"not usable here: {error.__cause__ or error}"
        except PluginError as error:
            version = f"not usable: {error}"
        lines.append(f"{name + default:<16}  {version}")
    return lines + [f"what each one cannot read: {page('docs/decoders.md')}"]


LISTED_SECONDS, LISTED_PATCHES = 60, 49


def head_lines() -> list[str]:
    """Each head: inputs, parameters, FLOPs, and what its paper prints."""
    from avqa import heads

    lines = [
        f"one question about {LISTED_SECONDS} s, {LISTED_PATCHES} patches a frame; FLOPs as"
        " torch counts them (2 per multiply-add, LSTMs left out); accuracy in percent on"
        " MUSIC-AVQA as printed, u/o = updated/original annotation, ! = its averages do not"
        " follow from its cells",
        f"{'head':<14} {'parameters':>11} {'GFLOPs':>7}  {'paper':>16}  inputs; accuracy",
    ]
    for name in heads.names():
        try:
            paper = heads.load(name).PAPER
        except (LibraryMissing, PluginError) as error:
            lines.append(f"{name:<14} not usable: {error}")
            continue
        head = heads.build(name)
        seconds = -(-LISTED_SECONDS // paper.recipe.stride_seconds)
        flops = heads.count_flops(head, seconds=seconds, patches=LISTED_PATCHES) / 1e9
        printed = " / ".join(
            f"{value}{unit}" if value is not None else "-"
            for value, unit in ((paper.parameters_millions, " M"), (paper.gflops, " G"))
        )
        rows = [
            f"{row.name} {row.values['All']:.2f} ({row.annotation}{'' if row.consistent else '!'})"
            for row in paper.figures
            if "All" in row.values
        ]
        needs = ", ".join(head.needs) + (f" every {paper.recipe.stride_seconds} s" * (seconds < 60))
        lines.append(
            f"{name:<14} {heads.count_parameters(head):>11,} {flops:>7.2f}  {printed:>16}  "
            + "; ".join([needs, *rows])
        )
    return lines
