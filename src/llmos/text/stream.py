"""Ids one by one into text, for every kind of tokenizer: bytes are collected until they make whole characters."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from llmos.text.base import TextStream


class ByteStream(TextStream):
    """`piece` gives the bytes of an id, b"" for an id that is not text. strip_space: drop one space at the very start, as
    models do that write a text of their own (T5, Marian) and not the rest of somebody else's."""

    def __init__(self, piece: Callable[[int], bytes], *, strip_space: bool = False) -> None:
        self._piece = piece
        self._strip = strip_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Sequence[int]) -> str:
        data = b"".join(map(self._piece, ids))
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)
