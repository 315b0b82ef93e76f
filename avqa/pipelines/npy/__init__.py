"""Feature files of other repositories: `avqa import`, `avqa export npy`, `avqa compare`.

- ``layouts``: the field's folders, datasets and shapes, as data
- ``importing``: videos' features into a store, from ``dumps`` (folders of .npy; the files
  themselves: ``npy_files``) or ``hdf5`` (likewise ``hdf5_files``); ``exporting``: out of it
- ``questions``: questions' features; ``folders``: these and the videos'
- ``compare``: are two sets of features the same? ``match``: its arithmetic; ``conventions``: which
  published habit explains a difference
"""
