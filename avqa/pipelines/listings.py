"""What `avqa encoders` and `avqa decoders` print."""

from __future__ import annotations

from avqa.extract import decode, encoders
from avqa.extract.settings import DEFAULT_FEATURES


def encoder_lines() -> list[str]:
    """One line per feature: name, shape per second, bytes per minute, whether it is a default."""
    lines = [f"{'feature':<28}{'per second':<18}{'MB/min':>8}  default  what"]
    for feature in encoders.all_features():
        tap = encoders.tap_of(feature)
        values = 1
        for axis in tap.shape:
            values *= axis
        shape = "×".join(str(axis) for axis in tap.shape)
        default = "yes" if feature in DEFAULT_FEATURES else "no"
        packed = " (before zstd)" if tap.sparse else ""
        lines.append(
            f"{feature:<28}{shape:<18}{values * 2 * 60 / 1e6:>8.2f}  {default:<7}"
            f"  {', '.join(tap.dims)}{packed}"
        )
    return lines


def decoder_lines() -> list[str]:
    """One line per reader: its version, or why it cannot be used here."""
    lines = []
    for name in decode.names():
        default = " (default)" if name == "pyav" else ""
        try:
            version = decode.load(name).READER.version()
        except ImportError as error:
            version = f"not usable here: {error}"
        lines.append(f"{name + default:<16}  {version}")
    return lines + ["what each one cannot read: docs/decoders.md"]
