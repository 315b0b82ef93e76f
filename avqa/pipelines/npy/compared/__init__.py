"""Parts of `avqa compare`.

- ``sides``: what is compared; ``stream``: what is found of one feature
- ``match``: arithmetic; ``conventions``: which published habit explains a difference
"""
