"""Annotation data of other tools, in and out: JSON lines, CSV, Label Studio, CoNLL, messages, preference pairs."""
