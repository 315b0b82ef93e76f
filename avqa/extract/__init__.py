"""One video to arrays: readers, time grid, sound, encoders. Knows no Zarr and no Dask."""
