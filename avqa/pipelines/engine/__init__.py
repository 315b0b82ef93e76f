"""What one worker process does with a bundle of videos.

- ``job``: one video to extract, and what tells its file from another
- ``engine``: its threads: decoder processes, fixed batches, networks, writers
- ``batching``: rows of many videos, gathered into batches of one fixed shape
- ``ticket``: one video on its way: rows come in, whole chunks go out
"""
