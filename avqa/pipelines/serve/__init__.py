"""`avqa serve`: a page of this machine alone, on which somebody asks a trained head.

- ``serving``: from the command's arguments to a server that a signal ends
- ``choices``: videos of a folder and questions of the training, to be picked
- ``desk``: one question at a time, its answer and its explanation
- ``page``: what gradio shows; ``site``: the addresses that are ours
- ``guard``: what of a request reaches them, and what a page may ask for
"""
