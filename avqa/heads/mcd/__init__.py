"""MCD (2024): ``head`` is the whole; ``association``, ``aggregator``, ``text``, ``plain`` parts."""

from avqa.heads.mcd.head import ABLATIONS, PAPER, Head, Options

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
