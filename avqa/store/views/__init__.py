"""A store as Python's other tools want it, made of what `avqa.store.reader` reads.

- ``readable``: what these files ask of a store
- ``video``: one video of it, a mapping of arrays; ``shown``: what a notebook prints
- ``as_xarray``, ``as_dataset``: for xarray and for torch, which are loaded when they are asked for
"""
