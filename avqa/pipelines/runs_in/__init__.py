"""`avqa import run`: published checkpoints as runs.

- ``files``: a checkpoint's tensors; nothing is unpickled
- ``names``: theirs as our head's, by the head's ``PAPER.released``
- ``importing``: the run
"""
