"""Rows that say all there is to know of a clip, from the truth: a head alone is judged by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from avqa.datasets._synth.score import BACKGROUNDS, LEVELS, PLACES, STROKES
from avqa.demo.truth import covered_patches, sounds_at

GRID = 7
"""Patches are GRID × GRID, row-major."""
AUDIO_WIDTH, VISUAL_WIDTH = 128, 512
FIELDS = ("audio", "frame", "patch")
SCALE = 4.0
"""Value of a one: rows are then about as long as the encoders'."""


class ExactFeatures:
    """Reads a video's rows from the truth.

    audio: per instrument (sounds, loudness, strokes), voiceover.
    patch: what its place in the grid is, the background, and per instrument whose box covers its
    middle (seen, seen at the place, sounds, strokes).
    frame: the largest value of each column over the patches.

    Raises:
        ValueError: a truth with too many instruments for the rows' width.
    """

    def __init__(
        self, truth: Mapping[str, Any], fields: Iterable[str] = FIELDS, *, narrow: bool = False
    ) -> None:
        """``truth`` as ``truth.json`` holds it; ``narrow``: without columns that are always 0."""
        self._fields = tuple(fields)
        self._made: dict[str, dict[str, Tensor]] = {}
        self.truth = truth
        self._videos = truth["videos"]
        self._instruments = tuple(truth["settings"]["instruments"])
        self.audio_names = tuple(_audio_names(self._instruments))
        self.patch_names = tuple(_patch_names(self._instruments))
        for names, width in ((self.audio_names, AUDIO_WIDTH), (self.patch_names, VISUAL_WIDTH)):
            if len(names) > width:
                raise ValueError(f"instruments={len(self._instruments)}; expected fewer")
        self.visual_width = len(self.patch_names) if narrow else VISUAL_WIDTH
        self._audio_column = {name: column for column, name in enumerate(self.audio_names)}
        self._patch_column = {name: column for column, name in enumerate(self.patch_names)}

    def read(self, video_id: str) -> dict[str, Tensor]:
        """``audio [T, 128]``, ``frame [T, width]``, ``patch [T, 49, width]``, float16."""
        if video_id not in self._made:
            rows = self._make(video_id)
            self._made[video_id] = {field: rows[field] for field in self._fields}
        return self._made[video_id]

    def _make(self, video_id: str) -> dict[str, Tensor]:
        video = self._videos[video_id]
        seconds = int(video["seconds"])
        audio = torch.zeros(seconds, AUDIO_WIDTH, dtype=torch.float16)
        patch = torch.zeros(seconds, GRID * GRID, self.visual_width, dtype=torch.float16)
        for start, end in video["voiceover"]:
            audio[start:end, self._audio_column["voiceover"]] = SCALE
        for place in range(GRID * GRID):
            for name in (f"row {place // GRID}", f"column {place % GRID}", video["background"]):
                patch[:, place, self._patch_column[name]] = SCALE
        for player in video["players"]:
            sounds = [t for t in range(seconds) if sounds_at(player, t)]
            heard = [self._audio_column[name] for name in _heard(player)]
            audio[torch.tensor(sounds, dtype=torch.long)[:, None], heard] = SCALE
            covered = torch.tensor(covered_patches(player["box"], GRID), dtype=torch.long)
            for t in range(seconds if player["place"] else 0):
                seen = [self._patch_column[name] for name in _seen(player, t in sounds)]
                patch[t, covered[:, None], seen] = SCALE
        return {"audio": audio, "frame": patch.amax(1), "patch": patch}


def _audio_names(instruments: Sequence[str]) -> Iterator[str]:
    for name in instruments:
        yield f"{name} sounds"
        yield from (f"{name} {level} dB" for level in LEVELS)
        yield from (f"{name} {strokes} a second" for strokes in STROKES)
    yield "voiceover"


def _heard(player: Mapping[str, Any]) -> list[str]:
    name = player["instrument"]
    level, strokes = player["level_db"], player["strokes_per_second"]
    return [f"{name} sounds", f"{name} {level} dB", f"{name} {strokes} a second"]


def _patch_names(instruments: Sequence[str]) -> Iterator[str]:
    yield from (f"row {i}" for i in range(GRID))
    yield from (f"column {i}" for i in range(GRID))
    yield from BACKGROUNDS
    yield from PLACES
    for name in instruments:
        yield name
        yield from (f"{name} {place}" for place in PLACES)
        yield f"{name} sounds"
        yield from (f"{name} sounds {place}" for place in PLACES)
        yield from (f"{name} {strokes} a second" for strokes in STROKES)


def _seen(player: Mapping[str, Any], sounds: bool) -> list[str]:
    name, place = player["instrument"], player["place"]
    still = [name, place, f"{name} {place}"]
    moving = [f"{name} sounds", f"{name} sounds {place}"]
    return still + [*moving, f"{name} {player['strokes_per_second']} a second"] * sounds
