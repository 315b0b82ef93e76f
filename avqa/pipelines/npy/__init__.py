"""Feature files of other repositories: `avqa import npy`, `avqa export npy`, `avqa compare`.

- ``layouts``: the field's folders and shapes, as data; ``npy_files``: the files themselves
- ``importing`` and ``exporting``: videos' features; ``questions``: questions' features
- ``compare``: are two sets of features the same? ``match``: its arithmetic; ``conventions``: which
  published habit explains a difference
"""
