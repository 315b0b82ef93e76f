"""What lies in a store, and how it is written down.

- ``schema``: names, shapes and codecs of every array; ``layout``: the directory and its attributes
- ``columns``, ``arrays``: one value per video; all arrays of a store but the features' values
- ``decoding``: the bytes of an object as values
- ``chunks``, ``integrity``: a video's chunk objects; whether one is what its record says
- ``shards``: many videos' chunks in one object, of packed copies
- ``frame_times``: time stamps of the rows' frames; ``texts``: texts and their features
- ``records``: what a worker reports of a video; ``ledger``: every record of every run,
  ``lines``: each one by itself; ``folding``: many segments as one, and what a run begins with
- ``runs``: what each run was asked and how it ended
- ``recipe_diff``: the one comparison of recipes
"""
