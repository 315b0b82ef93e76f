"""Where a store lies: ``path`` says what it needs of a place, ``files`` and ``objects`` are those.

``files``: a folder on a disk, and durable files of any kind; ``objects``: a bucket.
"""
