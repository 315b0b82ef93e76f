"""`avqa pack`: a copy of a store in few large objects.

- ``snapshot``: the store as it is read, sure not to change meanwhile; ``pack``: the copy as a whole
"""
