"""Feature files of other repositories: `avqa import`, `avqa export npy`, `avqa compare`.

- ``kinds``, ``layouts``: the field's files, folders, datasets and shapes, as data
- ``finding``: which of a source's folders are known, and why others are passed over
- ``importing``: videos' features into a store, from ``dumps`` (folders of .npy; the files
  themselves: ``npy_files``) or ``hdf5`` (likewise ``hdf5_files``); ``exporting``: out of it
- ``questions``: questions' features; ``folders``: these and the videos'
- ``compare``: are two sets of features the same? ``compared``: its parts
"""
