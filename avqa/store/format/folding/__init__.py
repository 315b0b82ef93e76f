"""What keeps a ledger of millions of records quick to begin with.

- ``sources``: of which file each row was made, as columns, up to a segment of the ledger
- ``segments``: many small segments as one, with the same lines
"""
