"""From a store and questions to a trained head and its table.

settings ─→ what to train, and how: the paper's recipe, a file, single values
features ─┐
questions ┴→ batches ─→ fit (one head, one seed) ─→ scoring ─→ table
                         └─ run: the folder that keeps all of it
"""
