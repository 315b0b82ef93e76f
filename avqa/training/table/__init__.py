"""The result table: ``rows`` and ``notes`` are put into a ``layout``; ``table`` is the whole."""
