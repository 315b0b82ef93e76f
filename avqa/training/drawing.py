"""matplotlib as it comes: nobody's ``matplotlibrc`` draws our pictures otherwise, or stops them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_style() -> Iterator[None]:
    """While entered, matplotlib draws by its own defaults; also a decorator."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
