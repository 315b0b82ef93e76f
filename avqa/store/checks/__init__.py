"""Is a store what it says it is, and what does it hold.

- ``verify``: `avqa verify`; ``indexcheck``: the index against the ledger; ``textcheck``: the texts
- ``summary``: `avqa status`
"""
