"""Importing this registers the steps that ask models, and those that write new rows."""

from __future__ import annotations

from llmos.data.steps import (  # noqa: F401
    back_translate,
    class_is,
    classify,
    embed,
    evolve_instruction,
    noise,
    paraphrase,
    perplexity,
    preference_pairs,
    qa_from_document,
    rouge_l_dedup,
    self_instruct,
    semantic_dedup,
    summarise,
    synonym,
    text_pair_similarity,
    translate,
)
