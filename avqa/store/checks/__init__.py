"""Is a store what it says it is, and what does it hold.

- ``verify``: `avqa verify`; ``report``: what it says; ``sample``: videos extracted again
- ``features``: objects, statuses and lengths against the ledger; ``indexcheck``: the index;
  ``textcheck``: the texts; ``metadata``: every ``zarr.json``
- ``repair``, ``textrepair``: what can be rebuilt; ``removed``: what is taken away
- ``summary``: `avqa status`
"""
