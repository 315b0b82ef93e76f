"""Decoded frame → what of it is shown, upright, in SDR, with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

from avqa.extract.media.container import display_size
from avqa.extract.media.frame import tone
from avqa.extract.media.frame.cropping import Crop, Cropper

# FFmpeg's exact conversion: 8 ms for 1280x720 instead of 1, but the default one darkens by 1 to 3
# levels, and depends on the processor's vector instructions.
_SCALING = (
    Interpolation.BILINEAR
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
_DEEP = "gbrp16le"
"""16 bits; into rgb48 libswscale 9.5 converts the colours of the first row alone."""


class Upright:
    """Converts the frames of one stream."""

    def __init__(self, aspect: Fraction, crop: Crop) -> None:
        """Take the width of a pixel divided by its height, and what the container cuts off."""
        self._aspect = aspect
        self._cropper = Cropper(crop)
        self._reformatter = VideoReformatter()

    def __call__(self, frame: Any) -> NDArray[np.uint8]:
        """Frame [H, W, 3] as a player shows it."""
        frame = self._cropper(frame)
        width, height = display_size(frame.width, frame.height, self._aspect)
        transfer = tone.TRANSFERS.get(frame.color_trc)
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=_DEEP if transfer else "rgb24",
            dst_color_range=ColorRange.JPEG,
            interpolation=_SCALING,
            threads=1,
        ).to_ndarray()
        if transfer:
            rgb = tone.to_sdr(np.asarray(rgb, np.uint16), transfer)
        return turn(np.asarray(rgb, np.uint8), display_matrix(frame))


def display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the frame's display matrix: x' = ax + cy, y' = bx + dy; signs matter only."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return (1, 0, 0, 1)
    m = np.frombuffer(bytes(side_data), np.int32)
    return int(m[0]), int(m[1]), int(m[3]), int(m[4])


def turn(rgb: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Turn and mirror [H, W, 3] by quarter turns; other angles are left as coded."""
    a, b, c, d = matrix
    if a == 0 and d == 0 and b and c:
        rgb, right, down = rgb.transpose(1, 0, 2), c, b
    elif b == 0 and c == 0:
        right, down = a, d
    else:
        return rgb
    if right < 0:
        rgb = rgb[:, ::-1]
    if down < 0:
        rgb = rgb[::-1]
    return np.ascontiguousarray(rgb)
