"""What data sets are made of, and what is reckoned from their questions.

- ``question``: one question of any data set; ``taxonomy``: its types, and a table's columns
- ``files``, ``fields``, ``music_rows``: rows of the field's files; ``rows``: of files of one's own
- ``prompts``: a question said as a sentence, as TSPM reads it beside the question
- ``vocabulary``: answers and words, fixed or built from questions
- ``matching``: a question's row in a store; ``splits``: splits by video
- ``floors``: what a blind guess scores; ``labels``: which instruments a video has
"""
