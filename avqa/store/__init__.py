"""The Zarr store: one driver writes it, workers write its chunks, anybody reads it.

- ``reader``: `avqa.open_store`; ``writer``: chunk objects, by workers; ``lock``: one run per store
- ``commit``: the driver's side; ``text_writer``: the texts'; ``recovery``: what a crash left
- ``running``: a run from its opening to the word on how it ended
- ``format``, ``places``: what all of these stand on; ``checks``, ``packing``: on top

docs/store.md has the order in which they import each other.
"""
