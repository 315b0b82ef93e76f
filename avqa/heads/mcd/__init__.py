"""MCD (2024): ``head`` is the whole; ``association``, ``aggregator``, ``text``, ``plain`` parts."""

from avqa.heads.mcd.head import Head
from avqa.heads.mcd.options import Options
from avqa.heads.mcd.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
