"""Annotation: people label items, their agreement is measured, and what they say becomes data."""
