"""The contract between text and tokens.

    Tokenizer      ids <-> text, exact: decode(encode(x)) gives x back for every causal model
    ChatTemplate   messages -> the text the model was trained on; rendered in a limited child process
    TextStream     ids one by one -> text pieces that never split a character

A tokenizer comes from `tokenizer.json`, a GGUF file or a SentencePiece model. Nothing here loads a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmos.types import Message, TokenIds, Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Ids with a meaning. `eos` holds every id that ends an answer (end of turn included)."""

    bos: int | None = None
    eos: tuple[int, ...] = ()
    pad: int | None = None
    unk: int | None = None
    mask: int | None = None
    sep: int | None = None
    cls: int | None = None
    decoder_start: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """Ids of a text or a pair of texts with segment ids (all 0 for one text). Same length."""

    ids: TokenIds
    type_ids: TokenIds


class Tokenizer(ABC):
    """Thread-safe. Vocabulary size and special tokens are those of the model, not of the file's padding."""

    vocab_size: int
    special: SpecialTokens
    control: frozenset[str] = frozenset()
    """The texts that `encode` reads as control tokens with parse_special, and only then."""

    @abstractmethod
    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> TokenIds:
        """add_special puts what the model expects around a text (BOS, [CLS] … [SEP], </s>). parse_special reads control
        tokens written in the text as such: True only for rendered templates, never for what a user wrote."""

    @abstractmethod
    def encode_pair(self, first: str, second: str) -> Encoded:
        """Two texts as an entailment or rerank model expects them."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str], *, add_special: bool = False) -> list[TokenIds]: ...

    @abstractmethod
    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str: ...

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """What one id stands for as bytes of UTF-8, perhaps a part of a character. Special tokens give their name."""

    @abstractmethod
    def token_to_id(self, token: str) -> int | None: ...

    @abstractmethod
    def stream(self) -> TextStream:
        """A fresh incremental decoder for one answer."""


class TextStream(ABC):
    """Turns ids into text as they come. Text is held back while a character is incomplete."""

    @abstractmethod
    def push(self, ids: Sequence[int]) -> str:
        """The text that became certain with these ids; perhaps ""."""

    @abstractmethod
    def flush(self) -> str:
        """What is left at the end; incomplete bytes become U+FFFD."""


class ChatTemplate(ABC):
    """The one renderer of chat templates; `source` is the Jinja text."""

    source: str
    supports_tools: bool

    @abstractmethod
    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Tool] = (),
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        extra: dict[str, Any] | None = None,
    ) -> str:
        """The prompt text, to be encoded with parse_special=True. Raises InvalidValue naming `messages` when the template
        refuses them, ModelFileError when the template itself breaks its limits (1 s of CPU, 256 MB)."""
