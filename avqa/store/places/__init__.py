"""Where a store lies: ``files`` (a folder) or ``objects`` (a bucket)."""
