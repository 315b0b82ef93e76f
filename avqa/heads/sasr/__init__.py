"""SaSR-Net (EMNLP Findings 2024): ``head``; ``sources`` as printed, ``official`` as run."""

from avqa.heads.sasr.head import ABLATIONS, PAPER, Head, Options

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
