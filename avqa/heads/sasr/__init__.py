"""SaSR-Net (EMNLP Findings 2024): ``head``; ``sources`` as printed, ``official`` as run."""

from avqa.heads.sasr.head import Head
from avqa.heads.sasr.options import Options
from avqa.heads.sasr.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
