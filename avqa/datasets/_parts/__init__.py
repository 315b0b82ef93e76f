"""What data sets are made of, and what is reckoned from their questions.

- ``question``: one question of any data set; ``taxonomy``: its types, and a table's columns
- ``files``, ``fields``, ``music_rows``: reading and checking rows; ``vocabulary``: fixed answers
- ``matching``: a question's row in a store; ``splits``: splits by video
- ``floors``: what a blind guess scores; ``labels``: which instruments a video has
"""
