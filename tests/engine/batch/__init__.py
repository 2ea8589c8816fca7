"""Batch inference: plan, log, run, finish."""
