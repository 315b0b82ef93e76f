"""Other people's machines: environments, and the main path in surroundings that are not ours.

``venv.py``          makes the environment that every target of the Makefile runs in
``path.py``          goes the main path as typed, with any ``avqa``
``surroundings.py``  what a machine can lack, and how to take it away here
``__main__.py``      ``make portability``: the path in each of them, and docs/install.md's table

`venv.py` and `path.py` run with nothing installed: they import the standard library alone.
"""
