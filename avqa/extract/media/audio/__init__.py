"""Audio of a file, on its way to 16 kHz mono on the frames' clock.

- ``pyav_audio``: reading, by time stamps; ``lost_sound``: which seconds damage has taken
- ``mixing``: channels → one; ``steady``: stamps that wobble; ``frame_clock``: placing, resampling
"""
