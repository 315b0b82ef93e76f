"""TJSTG (EMNLP Findings 2023): ``head`` is the whole, ``target`` what a question looks for."""

from avqa.heads.tjstg.head import Head, synchrony_loss
from avqa.heads.tjstg.options import Options
from avqa.heads.tjstg.paper import ABLATIONS, PAPER
from avqa.heads.tjstg.target import combine

__all__ = ["ABLATIONS", "PAPER", "Head", "Options", "combine", "synchrony_loss"]
