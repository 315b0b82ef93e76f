"""`extract_video`: one video to arrays, without a store, for notebooks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from avqa.errors import ConfigError, MediaError, Reason
from avqa.extract import encoders, weights
from avqa.extract.media.types import Limits
from avqa.extract.profiles import profile as choose
from avqa.extract.settings import Settings, check_settings
from avqa.machine import choose_device
from avqa.pipelines.engine.ahead import Ahead
from avqa.pipelines.engine.engine import Engine, EngineConfig
from avqa.pipelines.engine.job import VideoJob
from avqa.store.format.records import ChunkRecord, Status
from avqa.telling import Shown
from avqa.units import names_of, path_text


class VideoWarning(UserWarning):
    """What a reader says of a video that is not all as it should be."""


class _Memory:
    """Keeps chunks in memory instead of a store."""

    def __init__(self) -> None:
        self.chunks: dict[str, dict[int, NDArray[Any]]] = {}

    def write(self, feature: str, row: int, chunk: int, values: NDArray[Any]) -> ChunkRecord:
        self.chunks.setdefault(feature, {})[chunk] = values
        return ChunkRecord(values.nbytes, 0)

    def trim(self, feature: str, row: int, num_chunks: int) -> None:
        pass


def extract_video(
    path: str | os.PathLike[str],
    features: Sequence[str] | None = None,
    *,
    profile: str = "default",
    device: str = "auto",
    limits: Limits | None = None,
    **choices: Any,
) -> dict[str, NDArray[Any]]:
    """Features of one video as float32 arrays [T, ...], in exactly the stored convention.

        arrays = avqa.extract_video("clip.mp4", ["vggish/audio"])
        arrays["vggish/audio"]  # [T, 128]

    Args:
        path: the video.
        features: ``<encoder>/<tap>`` names; those of the profile if not given.
        profile: a named recipe.
        device: ``auto``, ``cpu`` or ``cuda``.
        limits: refuses larger, longer or slower videos; the defaults of the command.
        **choices: replace single values of the recipe (``weights="random:0"``,
            ``frame_at="start"``, ``options={"vggish.audio_hop": 0.96}``, …); see
            `avqa.extract.settings.Settings`.

    Returns:
        Feature name → array, and ``"pts"`` → [T] seconds of each row's frame. A feature of a
        stream that the video has not (no audio) is left out.

    Raises:
        MediaError: the video cannot be read.
        VideoWarning: a warning, of what is not as it should be in it.
        ConfigError, UnknownName: a choice is not allowed.
        WeightsUnavailable: no weights at hand.
    """
    video = path_text("path", path)
    if not isinstance(limits, Limits | None):
        raise ConfigError(f"limits={limits!r}; expected a Limits of avqa.extract.media.types")
    named = None if features is None else names_of("features", features)
    settings = check_settings(
        choose(profile, features=named, device=choose_device(device), **choices)
    )
    with VideoExtractor(settings, limits or Limits()) as extractor:
        return extractor.extract(video)


class VideoExtractor:
    """`extract_video` for several videos with all choices made; the networks are built once."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        *,
        judges: bool = True,
        ahead: Ahead | None = None,
    ) -> None:
        """Start an engine; see `extract_video` for the errors.

        Without ``judges`` the good part of a damaged video is taken, however small; ``ahead`` is
        what was begun of the engine.
        """
        self._settings = settings
        self._memory = _Memory()
        source = weights.resolve(settings.weights, encoders.weights_of(settings.features))
        config = EngineConfig(settings, source, limits, decoders=1)
        if not judges:
            config = replace(config, accept_partial=True, max_lost_sound=1.0)
        self._engine = Engine(config, self._memory, ahead=ahead)

    def __enter__(self) -> VideoExtractor:
        """Use it, and it is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the engine's threads and child."""
        self._engine.close()

    def shown(self) -> Shown:
        """How far the video is that is being extracted."""
        _, seconds = self._engine.under_way()
        return Shown(None, (f"extracting: {seconds:.0f} s of video done",))

    def extract(
        self, path: str | os.PathLike[str], max_rows: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """One video, at most its first ``max_rows`` rows; see `extract_video`."""
        self._memory.chunks.clear()
        name = os.fspath(path)
        job = VideoJob(0, Path(name).stem, name, name, self._settings.features, max_rows)
        tickets, error = self._engine.run([job])
        if error is not None:
            raise error
        (ticket,) = tickets
        arrays: dict[str, NDArray[Any]] = {}
        for record in ticket.feature_records():
            if record.status == Status.FAILED:
                raise MediaError(
                    cast(Reason, record.reason),
                    f"video {name!r}, {record.feature}: {record.message}",
                    stage=record.stage,
                )
            if record.status == Status.OK:
                chunks = self._memory.chunks[record.feature]
                values = np.concatenate([chunks[i] for i in sorted(chunks)])
                dtype = encoders.tap_of(record.feature).dtype
                arrays[record.feature] = values if dtype is None else values.astype(dtype)
        for text in ticket.footer.report.warnings if ticket.footer else []:
            warnings.warn(f"video {name!r}: {text}", VideoWarning, stacklevel=3)
        assert ticket.header is not None  # a failure was raised above
        arrays["pts"] = ticket.header.pts
        return arrays
