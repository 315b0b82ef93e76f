"""AVAF-Net (AAAI 2025): ``head`` is the whole, ``losses`` its contrastive losses."""

from avqa.heads.avaf.head import Head
from avqa.heads.avaf.options import Options
from avqa.heads.avaf.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
