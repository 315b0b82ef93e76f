"""What the decoder process does for one video: grid, frames, prepared rows, audio."""

from __future__ import annotations

import dataclasses
import errno
import math
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avqa.errors import (
    ConfigError,
    EnvironmentFailure,
    MediaError,
    PluginError,
    UnknownName,
    VideoLeft,
)
from avqa.extract import encoders
from avqa.extract.decoder.link import Link
from avqa.extract.decoder.ring import SLOT_BYTES
from avqa.extract.encoders import EncoderModule, Input, Options
from avqa.extract.media import file_checks
from avqa.extract.media.audio import lost_sound
from avqa.extract.media.audio.frame_clock import (
    BLOCK_SECONDS,
    FrameClockAudio,
    Waveform,
    WindowCutter,
    load_resampler,
    write_wav,
)
from avqa.extract.media.audio.lost_sound import Gaps
from avqa.extract.media.grid import KEY, Grid, build_grid
from avqa.extract.media.types import Frame, Limits, Probe, Reader, Report
from avqa.extract.settings import Settings
from avqa.faults import is_limit
from avqa.plugins import PAGE

FRAME_ROWS = 16
"""Rows of a frame block; see `Block`."""
AUDIO_ROWS = BLOCK_SECONDS
LATE_SECONDS = 0.5
"""Sound that ends so much after the last frame is cut by more than a packet or two."""
FRAME_FILE = "{:05d}.png"
AUDIO_FILE = "audio.wav"


@dataclasses.dataclass(frozen=True)
class Prepared:
    """One input that was asked for and who prepares it."""

    full_name: str
    encoder: EncoderModule
    name: str
    input: Input
    options: Options

    @property
    def hop(self) -> float:
        """Seconds between two rows of audio."""
        return float(self.options[self.input.hop]) if self.input.hop else 1.0

    def row(self, data: NDArray[Any]) -> NDArray[Any]:
        """Prepare one second [1, …]: alone, so that it cannot depend on its neighbours.

        Raises:
            PluginError: if the encoder breaks its own declaration.
        """
        row: NDArray[Any] = np.asarray(self.encoder.prepare(self.name, data, self.options))
        if row.shape != (1, *self.input.shape) or row.dtype != self.input.dtype:
            file = getattr(self.encoder, "__file__", "?")
            raise PluginError(
                f"encoder {self.full_name.rpartition('/')[0]!r} ({file}):"
                f" input {self.full_name!r} prepared as {row.shape} {row.dtype};"
                f" expected {(1, *self.input.shape)} {self.input.dtype}; see {PAGE}"
            )
        return row

    def rehearse(self) -> None:
        """Prepare nothing in particular once, so that no video pays for slow imports."""
        frame = self.input.kind == "frame"
        shape = (1, 64, 64, 3) if frame else (1, self.input.window)
        self.row(np.zeros(shape, np.uint8 if frame else np.float32))


class Work:
    """One request."""

    def __init__(
        self, link: Link, reader: Reader, path: str, settings: Settings, limits: Limits
    ) -> None:
        """Keep what all steps need."""
        self.stage = "probe"
        self.may_lack_memory = False
        """Limits of this process leave the video less memory than it may have."""
        self._link = link
        self._reader = reader
        self._path = path
        self._settings = settings
        self._limits = limits
        self._report = Report()
        self._seconds = dict.fromkeys(("probe", "decode", "prepare", "sound", "write"), 0.0)
        self._inputs: list[Prepared] = []

    def load(self, request: dict[str, Any], loaded: set[str]) -> None:
        """Import what the request needs: encoders, what they import on first use, the resampler.

        Args:
            request: the parent's message.
            loaded: what this process has loaded before; added to.

        Raises:
            UnknownName: if there is no such input.
        """
        for full_name in request.get("inputs", []):
            encoder_name, _, name = full_name.rpartition("/")
            encoder = encoders.load(encoder_name)
            if name not in encoder.INPUTS:
                raise UnknownName(f"input of {encoder_name}", name, encoder.INPUTS)
            options = self._settings.options_of(encoder_name)
            self._inputs.append(Prepared(full_name, encoder, name, encoder.INPUTS[name], options))
        for prepared in self._inputs:
            if prepared.full_name not in loaded:
                prepared.rehearse()
        if request["op"] == "frames" or any(p.input.kind == "audio" for p in self._inputs):
            load_resampler()
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(1)
        loaded.update(prepared.full_name for prepared in self._inputs)

    def run(self, request: dict[str, Any]) -> None:
        """Do what is asked and send the answers."""
        if request["op"] == "load":
            self._link.send("end")
            return
        probe, grid = self._probe(request.get("max_rows"))
        if request["op"] == "probe":
            self._link.send("end")
            return
        if request["op"] == "frames":
            folder = Path(request["folder"])
            self._write_frames(probe, grid, folder)
            self._audio(
                probe, len(grid.index), lambda blocks: write_wav(str(folder / AUDIO_FILE), blocks)
            )
            return
        frames = [p for p in self._inputs if p.input.kind == "frame"]
        audio = [p for p in self._inputs if p.input.kind == "audio"]
        if (
            self._inputs
        ):  # also audio alone: what is asked of a file does not change what it is worth
            self._send_frames(probe, grid, frames, full=request["full"])
        num_rows = len(grid.index)
        send = (lambda blocks: self._send_windows(blocks, audio, num_rows)) if audio else None
        self._audio(probe, num_rows, send)

    def _probe(self, max_rows: int | None) -> tuple[Probe, Grid]:
        with self._clock("probe"):
            probe = self._reader.probe(self._path, self._limits)
            if self._settings.frame_at == KEY:
                file_checks.check_keys(self._path, probe.times, self._limits)
            grid = build_grid(probe.times, self._settings.frame_at, probe.average_fps)
            grid = Grid(grid.index[:max_rows], grid.pts[:max_rows])
        self._link.send(
            "header",
            pts=[float(value) for value in grid.pts],
            index=[int(value) for value in grid.index],
            duration=float(probe.times.duration),
            declared_seconds=probe.declared_seconds,
            has_audio=probe.has_audio,
            width=probe.width,
            height=probe.height,
            codec=probe.codec,
        )
        return probe, grid

    def _send_frames(
        self, probe: Probe, grid: Grid, inputs: Sequence[Prepared], *, full: bool
    ) -> None:
        """Prepare each wanted frame for every input, and send full blocks of rows."""
        rows = RowsInOrder(grid.index, inputs, self._link)
        with closing(self._decoded(probe, grid, full=full)) as frames:
            for frame in frames:
                with self._clock("prepare"):
                    made = {p.full_name: p.row(frame.rgb[None])[0] for p in inputs}
                rows.add(frame.index, made)
        rows.finish()
        self._check_complete(rows.lost, len(grid.index))

    def _decoded(self, probe: Probe, grid: Grid, *, full: bool) -> Generator[Frame, None, None]:
        self.stage = "decode"
        wanted = sorted({int(value) for value in grid.index})
        frames = self._reader.frames(probe, wanted, self._report, full=full)
        while True:
            with self._clock("decode"):
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def _check_complete(self, lost: list[int], expected: int) -> None:
        """The other rows are good, and the report says that they are not all."""
        if self._report.corrupt:
            self._report.warnings.append(
                f"{self._report.corrupt} packets or frames were corrupt and passed over"
            )
        num_rows = expected - len(lost)
        if num_rows == 0:
            raise MediaError(
                "no_frames",
                f"no frame could be decoded: path={self._path!r}; expected {expected}; "
                "the file is damaged or not what it seems",
            )
        if lost:
            self._report.partial, self._report.lost_rows = True, lost
            inside = lost[0] < num_rows  # not only at the end
            where = f"; lost seconds: {_ranges(lost)}" if inside else ""
            self._report.warnings.append(f"decoded {num_rows} of {expected} rows{where}")

    def _write_frames(self, probe: Probe, grid: Grid, folder: Path) -> None:
        """Write one PNG per row; rows that show the same frame get copies."""
        from PIL import Image

        written: set[int] = set()
        with closing(self._decoded(probe, grid, full=False)) as frames:
            for frame in frames:
                start = time.monotonic()
                with self._clock("write"):
                    rows = np.flatnonzero(grid.index == frame.index)
                    files = [folder / FRAME_FILE.format(row) for row in rows]
                    Image.fromarray(frame.rgb).save(files[0])
                    for copy in files[1:]:
                        shutil.copyfile(files[0], copy)
                    written.update(int(row) for row in rows)
                self._link.send("spent", seconds=time.monotonic() - start)
        lost = [row for row in range(len(grid.index)) if row not in written]
        self._check_complete(lost, len(grid.index))

    def _audio(
        self, probe: Probe, num_rows: int, use: Callable[[Iterator[Waveform]], None] | None
    ) -> None:
        """Read the audio if it is wanted and end; nothing from here on harms the frames."""
        self._send_state("stage", stage="sound")
        self.stage = "sound"
        state: dict[str, Any] = {}
        if use is not None and probe.has_audio:
            runs = Gaps(self._reader.audio(probe, self._report))
            audio = FrameClockAudio(
                runs,
                start_seconds=_zero(probe),
                num_seconds=num_rows,
                resample=self._settings.resample,
                mix=self._settings.mix,
                report=self._report,
            )
            prepared, corrupt = self._seconds["prepare"], self._report.corrupt
            try:
                with self._clock("sound"), closing(runs):
                    use(audio.blocks())
            except Exception as error:  # whatever it is, the footer tells
                told = explain(error, self._path, "sound")
                short = self.may_lack_memory and told.get("reason") == "memory"
                if short or told["error"] != "media":  # of the machine or the installation
                    raise
                state = {"audio_error": told}
                state["clean"] = state["audio_error"].get("clean", True)
            self._seconds["sound"] -= self._seconds["prepare"] - prepared
            if self._report.corrupt > corrupt and not self._report.lost_sound:
                self._report.lost_sound = runs.until(probe.audio_end_seconds)
            self._tell_of_sound(probe, num_rows, self._report.corrupt - corrupt)
            state["audio_start"] = audio.extent.start
            state["audio_end"] = audio.extent.end
        self._send_state("footer", **state)

    def _tell_of_sound(self, probe: Probe, num_rows: int, num_corrupt: int) -> None:
        """Warn of sound that is lost, and of sound that goes on where no frame is."""
        report, zero = self._report, float(_zero(probe))
        report.lost_sound = lost_sound.on_frame_clock(report.lost_sound, zero, num_rows)
        if report.lost_sound:
            words = lost_sound.in_words(report.lost_sound, num_rows)
            report.warnings.append(f"sound is lost: {words}; silence stands there")
        elif num_corrupt:
            report.warnings.append(f"{num_corrupt} packets of audio do not decode: silence there")
        end = max(float(probe.times.duration), num_rows)
        beyond = (probe.audio_end_seconds or -math.inf) - zero - end
        if beyond > LATE_SECONDS:
            report.warnings.append(
                f"sound goes on after the last frame: {beyond:.2f} s, at {end:.2f} to"
                f" {end + beyond:.2f} s, are left out"
            )

    def _send_windows(
        self, blocks: Iterator[Waveform], inputs: Sequence[Prepared], num_rows: int
    ) -> None:
        """Send all audio inputs of a minute before the next minute is read."""
        cutters = [(p, WindowCutter(num_rows, p.hop, p.input.window)) for p in inputs]
        for block in blocks:
            for prepared, cutter in cutters:
                self._send_rows(prepared, cutter.push(block))
        for prepared, cutter in cutters:
            self._send_rows(prepared, cutter.finish())

    def _send_rows(self, prepared: Prepared, cut: Iterator[tuple[int, Waveform]]) -> None:
        for first_row, windows in cut:
            with self._clock("prepare"):
                rows = [prepared.row(window[None]) for window in windows]
            step = _rows_per_block(rows[0], AUDIO_ROWS)
            for k in range(0, len(rows), step):
                self._link.send_block(
                    prepared.full_name, first_row + k, np.concatenate(rows[k : k + step])
                )

    def _send_state(self, kind: str, **more: Any) -> None:
        self._link.send(
            kind, report=dataclasses.asdict(self._report), seconds=self._seconds, **more
        )

    @contextmanager
    def _clock(self, stage: str) -> Iterator[None]:
        start = _processor_seconds()
        try:
            yield
        finally:
            self._seconds[stage] += _processor_seconds() - start


class RowsInOrder:
    """Turns prepared frames, in time order, into blocks of rows, in row order.

    The two orders differ only where a published grid shows a frame again at the end; the
    frames it comes back to are kept until their last row. A row whose frame was passed over is
    lost: none is sent, and a block ends before it.
    """

    def __init__(self, index: NDArray[np.int64], inputs: Sequence[Prepared], link: Link) -> None:
        self._index = [int(value) for value in index]
        self._uses = Counter(self._index)
        self._kept: dict[int, dict[str, NDArray[Any]]] = {}
        self._waiting: dict[str, list[NDArray[Any]]] = {p.full_name: [] for p in inputs}
        self._link = link
        self._num_ready = 0
        self._num_sent = 0
        self.lost: list[int] = []
        """Rows that cannot come any more."""

    def add(self, index: int, made: dict[str, NDArray[Any]]) -> None:
        """Take the rows [*shape] made of one frame, by input; frames come in time order."""
        self._kept[index] = made
        self._advance(index)

    def finish(self) -> None:
        """No frame follows: send what is waiting."""
        self._advance(math.inf)
        self._flush()

    def _advance(self, passed: float) -> None:
        """Take all rows that are settled once the frame ``passed`` is there."""
        while self._num_ready < len(self._index):
            current = self._index[self._num_ready]
            if current in self._kept:
                self._take(current)
            elif current < passed:
                self._flush()
                self.lost.append(self._num_ready)
                self._num_sent += 1
            else:
                return
            self._num_ready += 1
            if self._num_ready - self._num_sent == FRAME_ROWS:
                self._flush()

    def _take(self, index: int) -> None:
        for name, row in self._kept[index].items():
            self._waiting[name].append(row)
        self._uses[index] -= 1
        if not self._uses[index]:
            del self._kept[index]

    def _flush(self) -> None:
        for name, rows in self._waiting.items():
            step = _rows_per_block(rows[0], FRAME_ROWS) if rows else 1
            for k in range(0, len(rows), step):
                self._link.send_block(name, self._num_sent + k, np.stack(rows[k : k + step]))
            rows.clear()
        self._num_sent = self._num_ready


def _ranges(rows: Sequence[int]) -> str:
    """Ascending numbers in words: ``3, 5 to 8``."""
    runs: list[list[int]] = []
    for row in rows:
        if runs and row == runs[-1][-1] + 1:
            runs[-1][1:] = [row]
        else:
            runs.append([row])
    return ", ".join(" to ".join(map(str, run)) for run in runs)


def _zero(probe: Probe) -> Fraction:
    """Time of the first frame on the file's clock."""
    return int(probe.times.pts[0]) * probe.times.time_base


def _rows_per_block(row: NDArray[Any], most: int) -> int:
    """As many rows as fit, at most ``most``."""
    return max(1, min(most, SLOT_BYTES // max(1, row.nbytes)))


def _processor_seconds() -> float:
    """Of this process, and of finished programs it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def explain(error: BaseException, path: str, stage: str) -> dict[str, Any]:
    """Turn any error into a message; ``clean`` says whether this process can go on."""
    where = f"stage={stage!r}, path={path!r}"
    if isinstance(error, ConfigError):
        return {"error": "config", "message": str(error)}
    if isinstance(error, EnvironmentFailure):
        kind = "left" if isinstance(error, VideoLeft) else "environment"
        return {"error": kind, "message": str(error), "clean": False}
    if isinstance(error, MediaError):
        found = {"error": "media", "reason": error.reason, "message": str(error)}
        return {**found, "stage": error.stage, "clean": error.reason != "memory"}
    if is_limit(error) or isinstance(error, ImportError):
        # Of the machine or the installation: the next video would fail as this one did.
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {
            "error": "environment",
            "message": f"the decoder process cannot go on: {text}; expected its libraries to load,"
            " and files, processes and threads to spare; raise the limits (ulimit -n, ulimit -u),"
            " or use fewer --decoders",
            "clean": False,
        }
    if is_storage(error):
        return {"error": "storage", "message": f"cannot write: {error}; make room there"}
    if isinstance(error, OSError) and error.errno and not _is_of_ffmpeg(error):
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {
            "error": "environment",
            "message": f"the decoder process cannot go on: {fault}; expected files of its own and"
            " programs to work; check TMPDIR, the disks and the installation",
            "clean": False,
        }
    if _is_memory(error):
        return {
            "error": "media",
            "reason": "memory",
            "message": file_checks.too_much_memory(where),
            "stage": stage,
            "clean": False,
        }
    return {
        "error": "media",
        "reason": "crash",
        "message": f"unexpected {type(error).__name__} in the decoder process: {where}; "
        f"expected frames or a media error: {' '.join(str(error).split())}",
        "stage": stage,
        "clean": False,
    }


def _is_of_ffmpeg(error: BaseException) -> bool:
    """Whether FFmpeg raised it through PyAV: what it says may come of what is in the file."""
    return type(error).__module__.startswith("av.")


def is_storage(error: BaseException) -> bool:
    """Whether a file that we write ourselves found no room."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _is_memory(error: BaseException) -> bool:
    """Whether an allocation failed, as Python, FFmpeg or torch say it."""
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or "can't allocate memory" in str(error)
    )
