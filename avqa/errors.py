"""Every error avqa raises on purpose, and the exit code each one stands for.

    AvqaError                 1   unexpected
    ├─ ConfigError            2   usage or configuration
    │  ├─ UnknownName         2   also LookupError
    │  │  └─ UnknownVideo     2   also KeyError
    │  ├─ PluginError         2   an encoder, reader, data set or head breaks its contract
    │  └─ DatasetError        2   a question file, or one of its questions, cannot be used
    ├─ MediaError             3   one video cannot be read; recorded, the run goes on
    ├─ PartialFailure         3   the run ended and some videos failed
    ├─ StoreError             4   refused by or because of a store
    │  ├─ StoreNotFound       2   also FileNotFoundError
    │  ├─ StoreLocked         4
    │  ├─ RecipeMismatch      4
    │  ├─ FeatureMissing      4   also KeyError
    │  └─ RunDamaged          4   also ConfigError
    ├─ EnvironmentFailure     5   the machine is at fault
    │  ├─ StorageFailure      5   disk full, read-only
    │  ├─ WeightsUnavailable  5
    │  ├─ VideoLeft           5   of one video; it stays to be extracted, the run goes on
    │  └─ LibraryMissing      5   also ImportError
    ├─ DifferenceFound        6   `verify` or `compare` found one
    └─ Stopped                130 or 143
       └─ Aborted             130 or 143, without draining

Messages are one line, lower case: what, with name=value → what was expected → what to do.
"""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable
from typing import Literal, get_args

Reason = Literal[
    "empty",  # zero bytes
    "unreadable",  # the operating system refuses to open or read it
    "not_media",  # no container that we read
    "no_video",  # no video stream (a cover image is none)
    "no_frames",  # a video stream without one decodable frame
    "no_decoder",  # this reader has no decoder for the codec, or shows wrong frames of such files
    "truncated",  # ends before its declared length
    "corrupt",  # frames or audio that do not decode
    "timeout",
    "memory",
    "crash",  # the decoder process died
    "refused_protocol",  # playlists and scripts that point elsewhere
    "too_large",  # declared pixels over the limit
    "too_long",  # declared seconds over the limit
    "sparse_keys",  # key frames too far apart to stand for seconds
    "no_sound",  # asked for audio of a file without an audio stream
    "overflow",  # a value beyond the storage dtype's range
    "not_finite",  # NaN or infinity from a network
    "worker_died",
]
REASONS: tuple[str, ...] = get_args(Reason)


class AvqaError(Exception):
    """Root of the tree: an error with an exit code and a one-line message."""

    exit_code: int = 1


class ConfigError(AvqaError):
    """A value, path or combination the user gave cannot be used."""

    exit_code = 2


MOST_NAMED, MOST_NEAR = 60, 8
"""Of names that there are: beyond so many only so many of the nearest are told."""


class UnknownName(ConfigError, LookupError):
    """A name (encoder, reader, profile, feature, …) that does not exist."""

    def __init__(self, kind: str, name: str, available: Iterable[str]) -> None:
        """Build the message, with the nearest known name where there is one."""
        names = sorted(available)
        hint = nearest(name, names)
        if len(names) > MOST_NAMED:  # 144 of open_clip's models hide the nearest
            near = difflib.get_close_matches(name, names, n=MOST_NEAR, cutoff=0.0)
            super().__init__(
                f"no {kind} {name!r};{hint} nearest of {len(names)}: {', '.join(near)}"
            )
            return
        super().__init__(f"no {kind} {name!r};{hint} available: {', '.join(names)}")


class UnknownVideo(UnknownName, KeyError):
    """A store has no such video."""

    def __init__(self, store: str, name: str, known: Iterable[str]) -> None:
        """Name the nearest id instead of listing thousands."""
        ConfigError.__init__(
            self,
            f"no video {name!r} in store {store!r}; expected one of its video ids;"
            f"{nearest(name, known)} `video_ids` lists them, `avqa extract` adds others",
        )

    def __str__(self) -> str:
        """Undo `KeyError`'s quoting."""
        return str(self.args[0])


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like an unknown one; empty if none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" did you mean {near[0]!r}?" if near else ""


class PluginError(ConfigError):
    """The module of a plug-in breaks its kind's contract."""


class DatasetError(ConfigError):
    """A question file is missing or cannot be used, or one of its questions cannot."""


class MediaError(AvqaError):
    """One video cannot be read, for one of the reasons of the closed list `Reason`."""

    exit_code = 3

    def __init__(self, reason: Reason, message: str, *, stage: str = "decode") -> None:
        """Keep the reason and the stage (probe, decode, prepare, audio, encode, write)."""
        super().__init__(message)
        self.reason: Reason = reason
        self.stage = stage

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by arguments: the error travels between processes."""
        return (_media_error, (self.reason, str(self), self.stage))


def _media_error(reason: Reason, message: str, stage: str) -> MediaError:
    return MediaError(reason, message, stage=stage)


class PartialFailure(AvqaError):
    """The run finished, but some or all taken videos failed."""

    exit_code = 3


class StoreError(AvqaError):
    """The store refuses, or cannot serve, the request."""

    exit_code = 4


class StoreNotFound(StoreError, FileNotFoundError):
    """There is no store at the path given."""

    exit_code = 2


class StoreLocked(StoreError):
    """Another run holds the store."""


class RecipeMismatch(StoreError):
    """Features were made by another recipe."""

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        """Keep the dotted keys that differ, for advice."""
        super().__init__(message)
        self.keys = tuple(keys)


class RootMismatch(StoreError):
    """Videos are not of the folder that the store was made of."""


class FeatureMissing(StoreError, KeyError):
    """The store does not hold a feature, or not for this video."""

    def __str__(self) -> str:
        """Undo `KeyError`'s quoting."""
        return str(self.args[0])


class RunDamaged(StoreError, ConfigError):
    """A file of a training run is damaged, gone, or another's."""

    exit_code = 4


class EnvironmentFailure(AvqaError):
    """The machine, not the request, is at fault."""

    exit_code = 5


class StorageFailure(EnvironmentFailure):
    """Disk full, quota, read-only: fatal to the run, nothing written is lost."""


class WeightsUnavailable(EnvironmentFailure):
    """Network weights are neither cached nor importable."""


class VideoLeft(EnvironmentFailure):
    """The machine kept us from one video, of which this says nothing: the next run takes it."""


class LibraryMissing(EnvironmentFailure, ImportError):
    """A library that an encoder, reader, data set or head needs is not installed."""


class DifferenceFound(AvqaError):
    """`verify` or `compare` found a difference."""

    exit_code = 6


class Stopped(AvqaError):
    """The run was stopped by a signal after draining."""

    def __init__(self, signum: int, message: str) -> None:
        """Exit code 128 + signal number: 130 for Ctrl-C, 143 for SIGTERM."""
        super().__init__(message)
        self.exit_code = 128 + int(signal.Signals(signum))


class Aborted(Stopped):
    """The run was stopped by a second signal, without waiting for what was under way."""


class AnnotationWarning(UserWarning):
    """Values of a question file were restored or left out: what, of how many rows."""
