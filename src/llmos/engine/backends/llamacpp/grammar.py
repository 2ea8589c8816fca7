"""Constraints for llama.cpp: JSON schemas, regular expressions and Lark grammars by the llguidance inside the wheel, GBNF by
llama.cpp itself. Both are samplers of the library that say, token by token, what may come next."""

from __future__ import annotations

import ctypes as c
import json
from typing import TYPE_CHECKING, Any

from llmos.engine.backends.llamacpp import binding
from llmos.errors import InvalidValue
from llmos.types import Constraint

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LlamaGrammar:
    """One answer's state in a constraint (sampling.Grammar). Raises InvalidValue naming `response_format`."""

    def __init__(self, constraint: Constraint, *, vocab: int, vocab_size: int) -> None:
        import numpy as np

        self._lib = binding.library()
        self._all: NDArray[Any] = np.zeros(vocab_size, dtype=[("id", "i4"), ("logit", "f4"), ("p", "f4")])
        self._all["id"] = np.arange(vocab_size)
        self._one = self._all[:1].copy()
        kind, text = _language(constraint)
        if kind == "gbnf":
            self._sampler = self._lib.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        else:
            self._sampler = self._lib._Z22llama_sampler_init_llgPK11llama_vocabPKcS3_(vocab, kind.encode(), text.encode())
        if not self._sampler or not self._forbids_something():
            self.close()
            raise InvalidValue(
                f"The {constraint.kind} cannot be compiled: {text[:200]}", param="response_format", hint=_HINTS[kind]
            )

    def _forbids_something(self) -> bool:
        """The library logs a constraint that it cannot compile and then allows every token, control tokens included; a
        constraint that works forbids at least those."""
        import numpy as np

        self._all["logit"] = 0.0
        self._apply(self._all)
        return not bool(np.isfinite(self._all["logit"]).all())

    def allows(self, token: int) -> bool:
        import numpy as np

        self._one["id"], self._one["logit"] = token, 0.0
        self._apply(self._one)
        return bool(np.isfinite(self._one["logit"][0]))

    def mask(self, logits: NDArray[np.float32]) -> None:
        self._all["logit"] = logits
        self._apply(self._all)
        logits[:] = self._all["logit"]

    def accept(self, token: int) -> None:
        self._lib.llama_sampler_accept(self._sampler, token)

    def close(self) -> None:
        if self._sampler:
            self._lib.llama_sampler_free(self._sampler)
            self._sampler = None

    def _apply(self, records: NDArray[Any]) -> None:
        array = binding.TokenDataArray(data=records.ctypes.data, size=len(records), selected=-1, sorted=False)
        self._lib.llama_sampler_apply(self._sampler, c.byref(array))


_HINTS = {
    "json": "Use a JSON schema of the features that llguidance documents.",
    "regex": "Write it in the syntax of Rust's regex crate, without look-around.",
    "lark": "Write a Lark grammar with a rule named start, or GBNF with a rule named root.",
    "gbnf": "Write GBNF with a rule named root: root ::= …",
}


def _language(constraint: Constraint) -> tuple[str, str]:
    """(language, text) of a constraint."""
    if constraint.kind == "regex":
        return "regex", str(constraint.value)
    if constraint.kind == "grammar":
        return ("gbnf" if "::=" in str(constraint.value) else "lark"), str(constraint.value)
    return "json", json.dumps({"type": "object"} if constraint.kind == "json_object" else constraint.value)
