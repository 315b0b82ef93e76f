"""Parts of `avqa compare`.

- ``sides``: what is compared; ``stream``: what is found of one feature
- ``ten``: TSPM's ten rows; ``readings``: how questions' texts were read
- ``match``: arithmetic; ``conventions``: which published habit explains a difference
"""
