"""What a video file is, in time, frames and audio; used by readers and the decoder process.

- ``types``: what passes between readers, the decoder and those who use them
- ``file_checks``: what is refused before any library sees the file
- ``container``: a file opened with PyAV; ``demux``: one pass over its packets
- ``bitstream``: the few bits of packets that matter; ``avi``: what its index tells
- ``clock``: parts with clocks of their own; ``losses``: places of frames that are gone
- ``packet_plan``: which packets must be decoded for the wanted frames
- ``ffmpeg_program``: the bundled ffmpeg; ``ffmpeg_table``: what it tells of packets and frames
- ``grid``: which frame stands for which second
- ``frame``: decoded frame → what is shown; ``audio``: packets → audio on the frames' clock
"""
