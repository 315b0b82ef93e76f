"""`avqa reproduce`: from videos and annotations to a page per paper.

    OUT/reproduce.json          what was asked for: `asked`
    OUT/questions.json          the test questions: who is asked what, in which column: `evidence`
    OUT/plan.json               hours and bytes, by this machine's speeds: `plan`
    OUT/features/<frame grid>/  stores, one for all heads that have the same frames: `features`
    OUT/runs/<head>/            runs of `avqa train-head`: `training`
    OUT/costs.json              what extraction took
    OUT/<head>.md               the page of a paper, made of the files above and no others: `page`
    OUT/papers.md               all papers, a line each

Every step is one that can be done again: what is finished stays as it is, so that the same command
goes on after a kill. Without the stores, and without weights, OUT is what `archive` packs.
"""
