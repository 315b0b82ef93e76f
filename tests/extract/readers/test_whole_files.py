"""Whole files that look short or broken: other tracks, clocks that begin late, zeros between."""

import struct
import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import pytest
from helpers.media import clips

from avqa.errors import MediaError
from avqa.extract.media.grid import build_grid
from avqa.extract.media.types import Limits, Probe, Reader, Report

FPS, SECONDS, LATER = 25, 4, 9
MIDDLES = [12, 37, 62, 87]
"""Numbers of the frames in the middle of each second."""
PACKET = 188
"""Bytes of a packet of an MPEG transport stream."""


def ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin"]
    subprocess.run([*command, *map(str, arguments)], check=True)


def base(extension: str) -> Path:
    options = {"seconds": SECONDS, "fps": FPS, "sound_codec": "aac", "extra": ("-g", "25")}
    return clips.cached_clip(f"base{extension}", **options)


def subtitles(folder: Path) -> list[str | Path]:
    """Options that add a track whose last cue ends long after all others."""
    path = folder / "late.srt"
    path.write_text(
        f"1\n00:00:00,500 --> 00:00:01,000\na\n\n2\n00:00:03,0 --> 00:00:0{LATER},0\nb\n",
        encoding="utf-8",
    )
    return ["-i", path]


def sound(folder: Path) -> list[str | Path]:
    return ["-f", "lavfi", "-i", f"sine=d={LATER}"]


def picture(folder: Path) -> list[str | Path]:
    return ["-f", "lavfi", "-i", f"testsrc=d={LATER}:s=64x64:r=5"]


CODECS = {
    subtitles: {".mkv": ["-c:s", "srt"], ".mp4": ["-c:s", "mov_text"]},
    sound: {ext: ["-c:a:1", "aac"] for ext in (".mkv", ".mp4", ".mov")},
    picture: {ext: ["-c:v:1", "libx264"] for ext in (".mkv", ".mp4", ".mov")},
}
TRACKS = [(track, extension) for track, codecs in CODECS.items() for extension in codecs]


def rows(reader: Reader, probe: Probe, report: Report) -> list[int]:
    """The numbers of the rows' frames."""
    index = build_grid(probe.times, "mid", probe.average_fps).index.tolist()
    frames = {f.index: f for f in reader.frames(probe, sorted(set(index)), report)}
    return [clips.read_number(frames[i].rgb) for i in index]


def read(reader: Reader, path: Path) -> tuple[list[int], Report]:
    """The numbers of the rows' frames, and the report; the sound is read, too."""
    probe = reader.probe(str(path), Limits())
    report = Report()
    numbers = rows(reader, probe, report)
    seconds = sum(len(run.samples) / run.sample_rate for run in reader.audio(probe, report))
    assert seconds == pytest.approx(SECONDS, abs=0.1)
    return numbers, report


def refuses(reader: Reader, path: Path) -> bool:
    """Whether the reader is decord, which has to say so of files that it shows wrong frames of."""
    if reader.name != "decord":
        return False
    with pytest.raises(MediaError) as caught:
        reader.probe(str(path), Limits())
    message = str(caught.value)
    assert caught.value.reason == "no_decoder"
    assert message.startswith(("decord shows wrong frames of path=", "reader='decord' has no dec"))
    return True


@pytest.mark.parametrize(("track", "extension"), TRACKS)
def test_another_track_is_longer(reader, track, extension, tmp_path):
    path = tmp_path / f"a{extension}"
    codecs = CODECS[track][extension]
    tracks = ("-map", "0", "-map", "1", "-c", "copy", *codecs)
    ffmpeg("-i", base(".mp4"), *track(tmp_path), *tracks, path)
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert (report.partial, report.corrupt) == (False, 0)


REORDERED = {
    "h264": ["-c:v", "libx264", "-x264-params", "bframes=3:keyint=20"],
    "h264, pyramid": ["-c:v", "libx264", "-x264-params", "bframes=3:b-pyramid=normal:open-gop=1"],
    "hevc": ["-c:v", "libx265", "-tag:v", "hevc", "-x265-params", "bframes=3:log-level=none"],
}


@pytest.mark.parametrize("codec", REORDERED)
def test_time_stamps_of_avi_are_those_of_decoding(reader, codec, tmp_path):
    ffmpeg("-i", base(".mp4"), *REORDERED[codec], "-c:a", "mp3", tmp_path / "a.avi")
    if refuses(reader, tmp_path / "a.avi"):
        return
    numbers, report = read(reader, tmp_path / "a.avi")
    assert numbers == MIDDLES
    assert (report.partial, report.corrupt) == (False, 0)


@pytest.mark.parametrize("extension", [".mkv", ".mp4", ".mov"])
def test_a_muted_recording_is_a_video_without_audio(reader, extension, tmp_path):
    path = tmp_path / f"a{extension}"
    declared = () if extension == ".mkv" else ("-movflags", "empty_moov+frag_keyframe")
    ffmpeg("-i", base(".mp4"), "-c", "copy", "-bsf:a", "noise=drop=1", *declared, path)
    with av.open(str(path)) as container:
        assert len(container.streams.audio) == 1
    probe = reader.probe(str(path), Limits())
    assert not probe.has_audio
    report = Report()
    assert len(list(reader.frames(probe, [12, 37], report))) == 2
    assert not report.partial


def test_of_two_audio_streams_the_one_that_decodes_is_read(reader, tmp_path):
    whole, path = tmp_path / "whole.mp4", tmp_path / "a.mp4"
    tracks = ("-map", "1", "-map", "0", "-c", "copy", "-c:a:0", "ac3", "-disposition:a", "0")
    ffmpeg("-i", base(".mp4"), *sound(tmp_path), *tracks, whole)
    content = whole.read_bytes()
    assert content.count(b"ac-3") == 1
    path.write_bytes(content.replace(b"ac-3", b"zz-9"))
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    if reader.name == "pyav":
        assert report.warnings == ["an audio stream has no decoder: stream 2 is read in its place"]


def test_another_track_is_longer_and_none_says_how_long_it_is(reader, tmp_path):
    """Recorders write no tags: then only the packets of all tracks tell."""
    tagged, path = tmp_path / "tagged.mkv", tmp_path / "a.mkv"
    tracks = ("-map", "0", "-map", "1", "-c", "copy", "-c:a:1", "aac")
    ffmpeg("-i", base(".mp4"), *sound(tmp_path), *tracks, tagged)
    content = tagged.read_bytes()
    assert content.count(b"DURATION") == 3
    path.write_bytes(content.replace(b"DURATION", b"DURATIOX"))
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert not report.partial


def test_asf_gives_every_track_the_length_of_the_whole(reader, tmp_path):
    path = tmp_path / "a.wmv"
    codecs = ("-map", "0", "-map", "1", "-c:v", "wmv2", "-c:a", "wmav2")
    ffmpeg("-i", base(".mp4"), *sound(tmp_path), *codecs, path)
    if refuses(reader, path):
        return
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert not report.partial


def test_half_of_it_is_still_half(reader, tmp_path):
    whole, half = tmp_path / "whole.mkv", tmp_path / "half.mkv"
    tracks = ("-map", "0", "-map", "1", "-c", "copy", "-c:a:1", "aac")
    ffmpeg("-i", base(".mp4"), *sound(tmp_path), *tracks, whole)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report = Report()
    list(reader.frames(reader.probe(str(half), Limits()), [0], report))
    assert report.partial


def test_half_of_it_is_half_beside_a_subtitle_that_stays_to_the_end(reader, tmp_path):
    cue, whole, half = (tmp_path / name for name in ("cue.srt", "whole.mkv", "half.mkv"))
    cue.write_text(f"1\n00:00:00,100 --> 00:00:0{LATER},0\na\n", encoding="utf-8")
    tracks = ("-map", "0", "-map", "1", "-c", "copy", "-c:s", "srt")
    ffmpeg("-i", base(".mp4"), "-i", cue, *tracks, whole)
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    report = Report()
    list(reader.frames(reader.probe(str(half), Limits()), [0], report))
    # ffmpeg does not print what each stream declares; it complains of the end.
    assert report.corrupt if reader.name == "ffmpeg" else report.partial


@pytest.mark.parametrize("extension", [".mkv", ".webm"])
def test_a_cut_from_a_live_stream_begins_at_3_hours(reader, extension, tmp_path):
    path = tmp_path / f"a{extension}"
    codecs = ("-c", "copy") if extension == ".mkv" else ("-c:v", "libvpx", "-c:a", "libopus")
    ffmpeg("-i", base(".mp4"), *codecs, "-output_ts_offset", "10800", path)
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert not report.partial
    probe = reader.probe(str(path), Limits(max_length_seconds=SECONDS + 1))
    assert probe.declared_seconds == pytest.approx(SECONDS, abs=0.1)


def frame_start(content: bytes, least: int) -> int:
    """Byte of a transport stream at which a frame begins: FFmpeg gives up one that zeros divide."""
    for place in range(least // PACKET * PACKET, len(content), PACKET):
        pid = int.from_bytes(content[place + 1 : place + 3], "big")
        if pid & 0x4000 and pid & 0x1FFF == 0x100:
            return place
    raise AssertionError("no frame begins there")


@pytest.mark.parametrize("place", ["middle", "end"])
@pytest.mark.parametrize("zeros", [1_400 * PACKET, 300_000])
def test_zeros_between_packets_are_passed_over(reader, zeros, place, tmp_path):
    content = base(".ts").read_bytes()
    cut = frame_start(content, len(content) // 2) if place == "middle" else len(content)
    path = tmp_path / "a.ts"
    path.write_bytes(content[:cut] + bytes(zeros) + content[cut:])
    if refuses(reader, path):
        return
    numbers, report = read(reader, path)
    assert numbers == MIDDLES
    assert (report.partial, report.corrupt) == (False, 0)


WRONG_IN_DECORD = {
    "a.m2ts": (["-c", "copy"], "container mpegts"),
    "a.vob": (["-c:v", "mpeg2video", "-c:a", "ac3", "-f", "vob"], "container mpeg"),
    "a.wmv": (["-c:v", "wmv2", "-c:a", "wmav2"], "container asf"),
    "a.mov": (["-c:v", "qtrle", "-pix_fmt", "gray"], "pixels in QuickTime"),
    "b.mov": (["-c:v", "png", "-pix_fmt", "gray"], "gray pixels in QuickTime"),
}


@pytest.mark.parametrize("name", WRONG_IN_DECORD)
def test_what_decord_shows_wrong_frames_of_is_refused(reader, name, tmp_path):
    options, why = WRONG_IN_DECORD[name]
    ffmpeg("-i", base(".mp4"), *options, tmp_path / name)
    if refuses(reader, tmp_path / name):
        with pytest.raises(MediaError, match=f"{why}.*; use --decoder pyav, or convert the file"):
            reader.probe(str(tmp_path / name), Limits())
        return
    assert read(reader, tmp_path / name)[0] == MIDDLES


def with_edits(content: bytes, parts: list[tuple[int, int]]) -> bytes:
    """An MP4 of one track, that shows only these parts: first second, seconds.

    Nothing but its last box, ``moov``, grows.
    """
    data = bytearray(content)
    box = data.index(b"elst") - 4
    size, _, count, _, delay, _ = struct.unpack_from(">IIxxxxIIiI", data, box)
    (ticks,) = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)
    (media_ticks,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    entries = b"".join(
        struct.pack(">IiI", seconds * ticks, delay + first * media_ticks, 1 << 16)
        for first, seconds in parts
    )
    grown = 12 * (len(parts) - count)
    data[box + 12 : box + size] = struct.pack(">I", len(parts)) + entries
    for name in (b"elst", b"edts", b"trak", b"moov"):
        place = data.rindex(name, 0, box + 8) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + grown)
    return bytes(data)


def test_an_edit_list_of_two_parts(reader, tmp_path):
    clip = clips.cached_clip("edited.mp4", seconds=6, fps=FPS, extra=("-g", "25", "-bf", "2"))
    path = tmp_path / "a.mp4"
    path.write_bytes(with_edits(clip.read_bytes(), [(0, 2), (3, 2)]))
    if refuses(reader, path):
        with pytest.raises(MediaError, match="time stamps that it changes"):
            reader.probe(str(path), Limits())
        return
    assert rows(reader, reader.probe(str(path), Limits()), Report()) == [12, 37, 87, 112]
