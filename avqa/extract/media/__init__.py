"""What a video file is, in time, pictures and sound; used by readers and the decoder process.

- ``types``: what passes between readers, the decoder and those who use them
- ``file_checks``: what is refused before any library sees the file
- ``container``: a file opened with PyAV; ``bitstream``: the few bits of packets that matter
- ``packet_plan``: which packets must be decoded for the wanted pictures
- ``upright``: decoded picture → upright RGB; ``ffmpeg_program``: the bundled ffmpeg
- ``grid``: which picture stands for which second
- ``pyav_audio``: sound by time stamps; ``audio``: sound on the pictures' clock
"""
