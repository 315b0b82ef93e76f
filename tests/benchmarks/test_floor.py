"""Seconds of decoding are medians of what was measured in turn."""

from pathlib import Path

from benchmarks import as_typed, floor


def test_decoding_is_measured_in_turn_and_medians_are_taken(monkeypatch):
    asked, seconds = [], iter([3.0, 0.3, 6.0, 1.0, 0.1, 2.0, 2.0, 0.9, 9.0])

    def planned(clip, frame_at="mid"):
        asked.append((clip, frame_at))
        return next(seconds)

    def decord(clip):
        return planned(clip, "decord")

    monkeypatch.setattr(floor, "planned_decoding", planned)
    monkeypatch.setattr(floor, "decord_decoding", decord)
    found = floor.decoding([Path("a")], 3)
    assert found == {"planned": 2.0, "key": 0.3, "decord": 6.0}
    assert asked == [(Path("a"), kind) for kind in ("mid", "key", "decord")] * 3


def test_a_real_file_has_the_medians_beside_what_a_further_clip_takes(tmp_path, monkeypatch):
    clip = tmp_path / "clip.mp4"
    clip.touch()
    decoding = {"planned": 1.0, "key": 0.1, "decord": 2.0}
    rounds = []

    def measured(clips, times):
        rounds.append((clips, times))
        return decoding

    def chain(clips, out, device):
        out.mkdir()
        return {"frames": 2.0, "CLIP": 3.0}

    monkeypatch.setattr(as_typed, "real_clips", lambda folder: {"H.264": clip})
    monkeypatch.setattr(as_typed, "run_chain", chain)
    monkeypatch.setattr(as_typed, "runs", lambda *of: {"one": {"wall": 4.0}, "all": {"wall": 10.0}})
    monkeypatch.setattr(floor, "decoding", measured)
    found = as_typed.of_real_files(tmp_path, tmp_path)
    assert found == {"H.264": {"avqa": 3.0, "chain": 5.0, **decoding}}
    assert rounds == [([clip], as_typed.ROUNDS)]
    assert as_typed.ROUNDS >= 3
