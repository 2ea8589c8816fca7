"""Batches of the OpenAI API: items answered as the routes answer requests (answers.py), as a job (kind.py), seen over HTTP (view.py)."""
