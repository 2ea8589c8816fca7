"""Importing this registers every built-in step."""

from __future__ import annotations

from llmos.data.steps import (  # noqa: F401
    all_clean,
    all_filters,
    all_language,
    all_models,
    c4_quality,
    convert,
    decontaminate,
    exact_dedup,
    fineweb_quality,
    gopher_quality,
    gopher_repetition,
    line_dedup,
    minhash_dedup,
    mix,
    normalise_whitespace,
    pack,
    sample,
    split,
    text_length,
    tokenize,
    url_dedup,
)
