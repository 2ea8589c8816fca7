"""How byte-level BPE vocabularies in GGUF files cut text into words, by the name in `tokenizer.ggml.pre`.

A GGUF file holds vocabulary and merges but only names the splitting rule; the rules themselves live in llama.cpp
(llama-vocab.cpp) and in the tokenizer.json of each model, from which these come. A name that is not here is an error, because
a wrong rule gives wrong ids without any sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmos.errors import ModelFileError, did_you_mean

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_TAIL}"
_QWEN2 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_TAIL}"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SLASH_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?"
    rf"|\p{{N}}{{1,3}}|{_SLASH_TAIL}"
)
_TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}|{_SLASH_TAIL}"


@dataclass(frozen=True, slots=True)
class Rule:
    """patterns: each splits the pieces of the one before. whole_words: a word that is a token is not merged from parts.
    add_bos: whether a text starts with BOS when the file does not say."""

    patterns: tuple[str, ...]
    whole_words: bool = False
    add_bos: bool = False


_DEFAULT = Rule((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"))
_RULES = {
    ("default",): _DEFAULT,
    ("gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "trillion", "jina-es", "jina-de", "gigachat"): Rule((_GPT2,)),
    ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"): Rule((r"\p{N}", _GPT2)),
    ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "lfm2"): Rule((_LLAMA3,), whole_words=True, add_bos=True),
    ("dbrx", "smaug-bpe"): Rule((_LLAMA3,)),
    ("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"): Rule((_QWEN2,)),
    ("falcon",): Rule((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, r"[0-9][0-9][0-9]")),
    ("gpt-4o", "llama4"): Rule((_GPT4O,)),
    ("tekken",): Rule((_TEKKEN,), whole_words=True, add_bos=True),
}
RULES = {name: rule for names, rule in _RULES.items() for name in names}


def rule(name: str) -> Rule:
    """The rule of that name. Raises ModelFileError with the known ones."""
    if name not in RULES:
        raise ModelFileError(
            f"The GGUF file names the pre-tokenizer {name!r}, which LLMOS does not know.",
            hint=did_you_mean(name, list(RULES), limit=40) + " Put the model's tokenizer.json beside the file to use that instead.",
        )
    return RULES[name]


def build(rule: Rule) -> PreTokenizer:
    """The rule as a step of `tokenizers`, with the mapping of bytes to printable characters at its end."""
    from tokenizers import Regex
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split

    splits = [Split(Regex(pattern), behavior="isolated") for pattern in rule.patterns]
    return Sequence([*splits, ByteLevel(add_prefix_space=False, use_regex=False)])
