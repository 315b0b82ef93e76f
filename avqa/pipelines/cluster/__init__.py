"""Where bundles of videos run; the only folder that knows Dask.

- ``on_dask``: a Dask cluster: of this machine, behind an address, or of SLURM jobs
- ``slurm_jobs``: one batch job = one GPU = one Dask worker; a dead one is replaced
- ``worker``: what a Dask worker keeps of a run, and how it takes a bundle
- ``environment``: what of a machine decides the numbers, checked on every worker
"""
