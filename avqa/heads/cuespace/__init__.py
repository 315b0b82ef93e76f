"""CueSpace (2026): ``head`` is the whole, ``modules`` its parts beside those of QA-TIGER."""

from avqa.heads.cuespace.head import Head
from avqa.heads.cuespace.options import Options
from avqa.heads.cuespace.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
