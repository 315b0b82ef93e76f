"""avqa: from a folder of videos to audio-visual question answering features."""

__version__ = "0.1.0"
