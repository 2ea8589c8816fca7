"""Other engines, used as their own documentation says, for the same work. Each is run as `python -m benchmarks.rivals.NAME`."""
