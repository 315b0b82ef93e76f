"""One head, one seed, epoch by epoch.

- ``fit``: training, and running a trained head; ``task``: what one fit works with
- ``trained``: what learns; ``debias``, ``mccd``, ``mccd_paper``: bias learners beside a head
- ``loop``: the steps and epochs; ``checkpoints``: what it can go on from
- ``devices``, ``processes``: Lightning's Fabric, and several processes that train together
- ``progress``, ``history``, ``curves``: what it says, writes and draws of itself
"""
