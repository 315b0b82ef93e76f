"""TSPM (ACM MM 2024): ``head`` is the whole, ``modules`` its selection and what it looks with."""

from avqa.heads.tspm.head import Head
from avqa.heads.tspm.options import Options
from avqa.heads.tspm.paper import ABLATIONS, PAPER

__all__ = ["ABLATIONS", "PAPER", "Head", "Options"]
