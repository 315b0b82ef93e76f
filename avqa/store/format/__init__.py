"""What lies in a store, and how it is written down.

- ``schema``: names, shapes and codecs of every array; ``layout``: the directory and its attributes
- ``columns``, ``arrays``: one value per video; all arrays of a store but the features' values
- ``frame_times``: time stamps of the rows' pictures; ``texts``: texts and their features
- ``records``: what a worker reports of a video; ``ledger``: every record of every run
- ``runs``: what each run was asked and how it ended
- ``recipe_diff``: the one comparison of recipes
"""
