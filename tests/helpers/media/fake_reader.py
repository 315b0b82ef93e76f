"""A reader for tests of what comes after decoding: each "video" is a line of JSON.

    {"seconds": 5, "seed": 1, "audio": true, "act": "crash"}

Frames and audio follow from the seed alone. ``act`` makes the reader misbehave: ``crash``
(segfault), ``crash_once`` (until the file ``<path>.once`` exists), ``hang``, ``corrupt``,
``slow`` (0.1 s per frame), ``gated`` (waits while the file ``gate`` exists, beside which it makes
``gate.reached``), ``bad_sound``, ``half`` (only half of the frames decode), ``holes`` (those of the
seconds 1, 4 and 5 do not).
``warn`` lists warnings.
"""

import ctypes
import json
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from avqa.errors import MediaError
from avqa.extract.media.types import AudioSamples, Frame, Probe, TimeTable

SIZE = (24, 32)
RATE = 16_000
DECODER = "helpers.media.fake_reader:READER"


def write_video(path, *, seconds=3, seed=0, audio=True, act="", **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"seconds": seconds, "seed": seed, "sound": audio, "act": act, **more}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


class FakeReader:
    name = DECODER

    def version(self):
        return "1"

    def probe(self, path, limits):
        try:
            info = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise MediaError("not_media", f"no JSON: path={path!r}", stage="probe") from error
        except FileNotFoundError as error:
            raise MediaError("unreadable", f"cannot read path={path!r}", stage="probe") from error
        pts = np.arange(2 * info["seconds"], dtype=np.int64)
        times = TimeTable(pts, len(pts), Fraction(1, 2))
        return Probe(
            path, self.name, SIZE[1], SIZE[0], "json", info["seconds"], times, info["sound"],
            Fraction(2), info,
        )  # fmt: skip

    def frames(self, probe, wanted, report, *, full=False):
        report.planned = not full
        report.warnings = probe.private.get("warn", [])
        if probe.private["act"] == "half":
            wanted = [index for index in wanted if index < len(probe.times.pts) // 2]
        if probe.private["act"] == "holes":
            wanted = [index for index in wanted if index // 2 not in (1, 4, 5)]
        for count, index in enumerate(wanted):
            self._misbehave(probe, count)
            rng = np.random.default_rng((probe.private["seed"], index))
            yield Frame(index, rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8))

    def _misbehave(self, probe, count):
        act, once = probe.private["act"], Path(probe.path + ".once")
        if act == "slow":
            time.sleep(0.1)
        while act == "gated" and (gate := Path(probe.private["gate"])).exists():
            gate.with_suffix(".reached").touch()
            time.sleep(0.1)
        if count < 1:
            return
        if act == "hang":
            time.sleep(3600)
        if act == "corrupt":
            raise MediaError("corrupt", "the fake reader was told so", stage="decode")
        if act == "crash" or (act == "crash_once" and not once.exists()):
            once.touch()
            ctypes.string_at(0)

    def audio(self, probe, report):
        info = probe.private
        report.warnings = report.warnings or info.get("warn", [])
        if info["act"] == "bad_sound":
            raise MediaError("corrupt", "the fake audio was told so", stage="sound")
        for second in range(info["seconds"]):
            rng = np.random.default_rng((info["seed"], 7, second))
            time_axis = np.arange(RATE) / RATE
            wave = np.sin(2 * np.pi * rng.uniform(200, 3000) * time_axis)
            yield AudioSamples(Fraction(second), RATE, wave.astype(np.float32))


READER = FakeReader()
