"""`avqa ask`: questions about one video, answered by a trained head.

- ``answer``: the whole way, from run, video and words to answers
- ``asking``: one question, many of a file, or what is typed
- ``question``: the words, as the head's training questions were; ``asked_file`` reads many
- ``stored``: the video as the run's store has it
- ``features``, ``texts``: else its features in the run's recipe, kept by ``cache``
- ``explain``: where the head looked; ``heat`` draws over the frames, ``plots`` over time
"""

import warnings


def __getattr__(name: str) -> object:
    """Names of version 0.1, for one release."""
    if name not in ("ask", "AskOptions", "Answer"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from avqa.pipelines.ask import answer

    now = "avqa.ask" if name == "ask" else f"{answer.__name__}.{name}"
    warnings.warn(f"{__name__}.{name} is now {now}", DeprecationWarning, stacklevel=2)
    return getattr(answer, name)
