"""AVAF-Net (AAAI 2025): ``head`` is the whole, ``losses`` its contrastive losses."""

from avqa.heads.avaf.head import ABLATIONS, PAPER, Head, Options

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
