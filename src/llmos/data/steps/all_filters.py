"""Importing this registers filters on characters, words, lines, languages, tokens and fields, selectors, and the trained classifier."""

from __future__ import annotations

from llmos.data.steps import (  # noqa: F401
    alphanumeric_ratio,
    average_line_length,
    character_repetition,
    comment_ratio,
    digit_ratio,
    fields,
    flagged_words_ratio,
    language,
    linear_classifier,
    maximum_line_length,
    mean_word_length,
    num_lines,
    num_tokens,
    num_words,
    parentheses_ratio,
    punctuation_ratio,
    selectors,
    special_characters_ratio,
    stopwords_ratio,
    url_ratio,
    where,
    whitespace_ratio,
    word_repetition,
)
