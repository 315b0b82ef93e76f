"""QA-TIGER (CVPR 2025): ``head`` is the whole, ``modules`` its parts, ``experts`` those of time."""

from avqa.heads.qa_tiger.head import Head
from avqa.heads.qa_tiger.options import Options
from avqa.heads.qa_tiger.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
