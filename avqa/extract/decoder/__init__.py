"""The decoder: a process that opens one video after the other, and may die without harm.

- ``process``: the parent's side, and the only entrance: `DecoderProcess`
- ``spawn``: starting, talking to and killing the child; ``ring``: the memory that both share
- ``child``: the child's main program; ``link``: its way to the parent; ``work``: what it does for
  one video
"""
