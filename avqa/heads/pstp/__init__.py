"""PSTP-Net (MM 2023): ``head`` is the whole, ``modules`` its segments and selections."""

from avqa.heads.pstp.head import Head, thop_parameters
from avqa.heads.pstp.options import Options
from avqa.heads.pstp.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options", "thop_parameters"]
