"""The Zarr store: schema, writer, ledger, lock, verification and reader."""
