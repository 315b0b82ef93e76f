"""The check of a GPU: ``make gpu-bundle`` where there is a network, ``make gpu-check`` on the GPU.

- ``bundle``: wheels and clips into one folder; ``material``: the clips; ``prepare``: an environment
  from the folder, without network
- ``__main__``: all parts within their time; ``running``: one part in a process of its own
- ``part``: what a part is given, and how it keeps what it found; ``parts``: all there are
- ``device``: the GPU, or the CPU that stands in for it
- ``page``: the results in Markdown
"""
