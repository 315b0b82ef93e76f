"""From questions and a store to batches.

- ``splits``: which questions train, choose the epoch, test; ``material``: what a run trains on
- ``exchange``: comparisons the other way round
- ``vocabulary``: answers and words of a run, and what lies outside them
- ``questions``: questions as tensors; ``features``: videos' features; ``memory``: shared memory
- ``building``: a head for this data; ``batch``: what it is given; ``batches``: order, loader
"""
