"""Output that must match: JSON, a JSON schema, a regular expression or a grammar, by masks over the vocabulary (llguidance).

The tokens' bytes come from our own tokenizer, so a GGUF model is constrained exactly as a safetensors folder is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmos.errors import InvalidValue
from llmos.text.base import Tokenizer
from llmos.types import Constraint


class Matcher:
    """The state of one answer. After `accept` of the last token a grammar allows, `done` is True."""

    def __init__(self, matcher: Any, num_logits: int) -> None:
        self._matcher = matcher
        self._num_logits = num_logits

    def allowed(self) -> Tensor:
        """bool [V]: what may come next; end-of-sequence ids are True where the output could end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        flags = np.unpackbits(bits, bitorder="little")[: self._num_logits].astype(bool)
        return torch.from_numpy(np.pad(flags, (0, self._num_logits - len(flags))))

    def accept(self, token_id: int) -> None:
        if not self._matcher.consume_token(token_id):
            raise InvalidValue(f"The constraint cannot be followed further: {self._matcher.get_error()}", param="constraint")

    @property
    def done(self) -> bool:
        return bool(self._matcher.is_stopped())


class Constraints:
    """Makes matchers for one model; the table of its tokens is built on the first use."""

    def __init__(self, tokenizer: Tokenizer, eos: Sequence[int], num_logits: int) -> None:
        self._tokenizer, self._eos, self._num_logits = tokenizer, list(eos), num_logits
        self._table: Any = None

    def matcher(self, constraint: Constraint) -> Matcher:
        """Raises InvalidValue with the parser's reason for a schema, pattern or grammar that cannot be used."""
        from llguidance import LLMatcher

        if self._table is None:
            self._table = self._token_table()
        try:
            grammar = _grammar(constraint)
        except (ValueError, TypeError) as problem:
            raise InvalidValue(f"The {constraint.kind} is not valid: {problem}", param="constraint") from problem
        matcher = LLMatcher(self._table, grammar, log_level=0)
        if matcher.is_error():
            raise InvalidValue(f"The {constraint.kind} is not valid: {matcher.get_error()}", param="constraint")
        return Matcher(matcher, self._num_logits)

    def _token_table(self) -> Any:
        from llguidance import LLTokenizer, TokenizerWrapper

        return LLTokenizer(TokenizerWrapper(_Vocabulary(self._tokenizer, self._eos)), n_vocab=self._num_logits, eos_token=self._eos)


class _Vocabulary:
    """Our tokenizer in the shape llguidance asks for."""

    def __init__(self, tokenizer: Tokenizer, eos: list[int]) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = eos[0], tokenizer.special.bos
        self.tokens = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted(set(eos) | {i for i, token in enumerate(self.tokens) if self._is_control(i, token)})

    def __call__(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def _is_control(self, token_id: int, token: bytes) -> bool:
        """Control tokens have a name like <|im_start|> or [SEP] that plain text never becomes."""
        named = len(token) > 2 and (token[:1], token[-1:]) in ((b"<", b">"), (b"[", b"]"))
        return named and self._tokenizer.encode(token.decode("utf-8", "replace")) != (token_id,)


def _grammar(constraint: Constraint) -> str:
    import json

    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import gbnf_to_lark

    value = constraint.value
    if constraint.kind == "json_object":
        return str(LLMatcher.grammar_from_json_schema('{"type": "object"}'))
    if constraint.kind == "json_schema":
        return str(LLMatcher.grammar_from_json_schema(json.dumps(value)))
    if constraint.kind == "regex":
        return str(LLMatcher.grammar_from_regex(value))
    return str(LLMatcher.grammar_from_lark(gbnf_to_lark(value) if "::=" in value else value))
