"""`avqa extract`: a folder of videos to a store, and what belongs to it.

One run, in the order in which a video passes through it:

- ``run``: the run as a whole, from options to report
- ``collection``: which files are videos, under which id, and which of the store's they are
- ``work``: which of them, and which features, are still to be extracted
- ``driver``: bundles of videos out to workers, records in, checkpoints, failures
- ``probe``, ``progress``: lengths learnt beside it, and what is said meanwhile
- ``as_stored``: choices that were not given

Other ways of it: ``plan`` (measure and predict), ``array_job`` and ``finalize`` (tasks of an array
job, and their parts made one store), ``single`` (one video, no store), ``verify`` (extract again
and compare), ``remove`` (videos leave a store), ``stores`` (status and packing, in parts or whole),
``frames`` (what rows are made from, as files).
"""
