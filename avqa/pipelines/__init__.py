"""What the commands do, callable from Python; joins `extract` and `store`."""
