"""`avqa score`: answers of any model, ours or not, to a data set's questions.

- ``files``: a file of answers as ids and texts
- ``mapping``: a text as one of the answers that may be given
- ``score``: table, intervals, what is missing; two files beside each other
"""
