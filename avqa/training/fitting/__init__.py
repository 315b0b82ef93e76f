"""One head, one seed, epoch by epoch.

- ``fit``: training, and running a trained head; ``task``: what one fit works with
- ``trainer``, ``lit``: the loop; ``checkpoints``: what it can go on from
- ``progress``, ``history``, ``curves``: what it says, writes and draws of itself
"""
