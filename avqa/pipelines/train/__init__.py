"""`avqa train-head` and what follows.

- ``train``: from a store and questions to the result table, variant by variant, seed by seed
- ``folder``: the folder that a run holds alone
- ``grounding``: `avqa pretrain-grounding`
- ``evaluate``: `avqa evaluate` and `avqa predict` on a finished run
"""
