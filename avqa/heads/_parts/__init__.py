"""What heads are made of.

- ``head``: what every head takes and gives; ``evidence``: one view of what it looked at
- ``projected``: what it makes of its inputs before they meet
- ``blocks``: attention, question encoders, answer layers; ``grounding``: audio in frames
- ``paper``: a paper as data; ``cost``: parameters and FLOPs
"""
