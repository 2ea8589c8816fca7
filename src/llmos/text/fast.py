"""The tokenizer that nearly every model has: Hugging Face's `tokenizers` in Rust, behind the contract of base.py.

Two views of one vocabulary: one that reads control tokens in a text as such (rendered templates) and one for which they are
plain text (whatever a user wrote). They share model and vocabulary, so the second costs nothing, and no switch is flipped
while another thread encodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from llmos.errors import CorruptFile, LLMOSError
from llmos.text.base import Encoded, SpecialTokens, TextStream, Tokenizer
from llmos.text.stream import ByteStream
from llmos.types import TokenIds

if TYPE_CHECKING:
    import tokenizers

# Control tokens that carry meaning for text/tools.py and are therefore part of the text a stream gives.
MEANINGFUL = frozenset({"[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "<tool_call>", "</tool_call>"})
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class FastTokenizer(Tokenizer):
    """strip_space: what this model writes starts without the space of its first word (sequence-to-sequence models)."""

    def __init__(self, inner: tokenizers.Tokenizer, special: SpecialTokens, *, strip_space: bool = False) -> None:
        with guarded("tokenizer.json"):
            inner.no_truncation()  # a text is never cut in silence
            inner.no_padding()
            self._parsing, self._plain = inner, _plain_twin(inner)
        self.special = special
        self.vocab_size = 1 + max(inner.get_vocab(with_added_tokens=True).values(), default=-1)
        self._added = inner.get_added_tokens_decoder()
        self.control = frozenset(token.content for token in self._added.values() if token.special)
        self._strip_space = strip_space

    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> TokenIds:
        view = self._parsing if parse_special else self._plain
        with guarded():
            return tuple(view.encode(text, add_special_tokens=add_special).ids)

    def encode_pair(self, first: str, second: str) -> Encoded:
        with guarded():
            encoding = self._plain.encode(first, second, add_special_tokens=True)
        return Encoded(tuple(encoding.ids), tuple(encoding.type_ids))

    def encode_batch(self, texts: Sequence[str], *, add_special: bool = False) -> list[TokenIds]:
        with guarded():
            encodings = self._plain.encode_batch_fast(list(texts), add_special_tokens=add_special)
        return [tuple(encoding.ids) for encoding in encodings]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        with guarded():
            return str(self._parsing.decode(list(ids), skip_special_tokens=skip_special))

    def token_bytes(self, token_id: int) -> bytes:
        token = self._parsing.id_to_token(token_id)
        if token is None:
            return b""
        return token.encode() if token_id in self._added else self._bytes_of(token)

    def token_to_id(self, token: str) -> int | None:
        found: int | None = self._parsing.token_to_id(token)
        return found

    def stream(self) -> TextStream:
        return ByteStream(self._streamed, strip_space=self._strip_space)

    def _streamed(self, token_id: int) -> bytes:
        added = self._added.get(token_id)
        return b"" if added is not None and added.special and added.content not in MEANINGFUL else self.token_bytes(token_id)

    @cached_property
    def _kind(self) -> str:
        """How this vocabulary writes bytes: byte-level, wordpiece, suffix (</w>) or sentencepiece."""
        state = json.loads(self._parsing.decoder.__getstate__()) if self._parsing.decoder is not None else {}
        kinds = {state.get("type")} | {step.get("type") for step in state.get("decoders", ())}
        names = {"ByteLevel": "byte-level", "WordPiece": "wordpiece", "BPEDecoder": "suffix"}
        return next((name for kind, name in names.items() if kind in kinds), "sentencepiece")

    def _bytes_of(self, token: str) -> bytes:
        if self._kind == "byte-level":
            table = byte_table()
            return bytes(table[c] for c in token) if all(c in table for c in token) else token.encode()
        if self._kind == "wordpiece":
            return (token[2:] if token.startswith("##") else " " + token).encode()
        if self._kind == "suffix":
            return token.replace("</w>", " ").encode()
        byte = _BYTE.fullmatch(token)
        return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()


@contextmanager
def guarded(what: str = "The tokenizer of this model") -> Iterator[None]:
    """A file whose parts contradict each other makes the Rust library raise bare Exception, or panic, on some texts only."""
    try:
        yield
    except BaseException as problem:
        if isinstance(problem, (MemoryError, LLMOSError)) or not (
            isinstance(problem, Exception) or type(problem).__name__ == "PanicException"
        ):
            raise
        raise CorruptFile(f"{what} is broken: {str(problem)[:200]}.", hint="Download it again.") from None


def _plain_twin(inner: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same vocabulary and steps, for which control tokens in a text are text."""
    from tokenizers import Tokenizer as Rust

    twin = Rust(inner.model)
    for step in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if getattr(inner, step) is not None:
            setattr(twin, step, getattr(inner, step))
    added = inner.get_added_tokens_decoder()
    twin.add_tokens([added[i] for i in sorted(added)])
    if twin.get_added_tokens_decoder() != added:  # ids with holes: only the full copy keeps them
        twin = Rust.from_str(inner.to_str())
    twin.encode_special_tokens = True
    return twin


@lru_cache(maxsize=1)
def byte_table() -> dict[str, int]:
    """The printable character that GPT-2's byte-level BPE writes for each byte (openai/gpt-2 encoder.py), reversed."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in printable)
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}
