"""`avqa ask`: one question about one video, answered by a trained head.

- ``ask``: the whole way, from run, video and words to an answer
- ``question``: the words, as the head's training questions were
- ``features``: the video's features in the run's recipe, kept by ``cache``
- ``explain``: where the head looked; ``heat`` draws over the frames, ``plots`` over time
"""
