"""Batch inference: a file of requests in, a file of answers out, at the speed of the engine and never twice (base.py)."""
