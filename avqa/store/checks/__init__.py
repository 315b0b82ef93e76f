"""Is a store what it says it is, and healing it.

- ``verify``: `avqa verify`; ``integrity``: a chunk object against its record; ``indexcheck``: the
  index against the ledger; ``textcheck``: the texts
- ``recovery``: what a run heals first; ``status``: `avqa status`
"""
