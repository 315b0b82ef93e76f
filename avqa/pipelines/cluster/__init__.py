"""Where bundles of videos run.

- ``connect``: from ``--scheduler`` to an executor
- ``executor``: what the driver knows of workers, and the one in its own process
- ``on_dask``: a Dask cluster, of this machine or behind an address
- ``slurm_config``, ``slurm_jobs``: one batch job = one GPU = one Dask worker; the dead are replaced
- ``worker``: what a worker process does for a run: a bundle in, small records out
- ``environment``: what of a machine decides the numbers, checked on every worker

Only ``on_dask`` and ``slurm_jobs`` load Dask's scheduler; they are imported when they are chosen.
"""
