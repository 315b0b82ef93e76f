"""PSTP-Net (MM 2023): ``head`` is the whole, ``modules`` its segments and selections."""

from avqa.heads.pstp.head import ABLATIONS, PAPER, Head, Options

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
