"""What a video file is, in time, frames and audio; used by readers and the decoder process.

- ``types``: what passes between readers, the decoder and those who use them
- ``file_checks``: what is refused before any library sees the file
- ``container``: a file opened with PyAV; ``bitstream``: the few bits of packets that matter
- ``packet_plan``: which packets must be decoded for the wanted frames
- ``upright``: decoded frame → upright RGB; ``ffmpeg_program``: the bundled ffmpeg
- ``grid``: which frame stands for which second
- ``pyav_audio``: audio by time stamps; ``audio``: audio on the frames' clock
"""
