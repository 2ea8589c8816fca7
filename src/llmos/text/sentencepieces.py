"""Tokenizers of models that come with a SentencePiece file and no tokenizer.json: T5 and Llama (spiece.model, tokenizer.model)
and Marian (source.spm, target.spm, vocab.json). Needs the `sentencepiece` library, which the extra `torch` brings.

Special tokens are put around a text by their ids alone; a control token written in a text is read as one only with parse_special.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, MissingExtra, ModelFileError
from llmos.text.base import Encoded, SpecialTokens, TextStream, Tokenizer
from llmos.text.stream import ByteStream
from llmos.types import TokenIds

_SHIFTED = ("XLMRoberta", "Camembert", "MBart", "Bartpho", "XGLM", "Barthez")  # their ids are not those of the file
_TARGET = re.compile(r">>[^<>\s]+<<")  # Marian models of several target languages read the wanted one in front of the text
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class SentencePieceTokenizer(Tokenizer):
    """`ids`: piece -> id of the model. source cuts what is read, target knows what is written (one and the same but for Marian)."""

    def __init__(
        self, source: Any, ids: Mapping[str, int], special: SpecialTokens, *, before: TokenIds = (), after: TokenIds = ()
    ) -> None:
        self._source, self._ids = source, dict(ids)
        self._pieces = {number: piece for piece, number in self._ids.items()}
        self.special = special
        self.vocab_size = 1 + max(self._pieces, default=-1)
        self._before, self._after = before, after
        self._writes = special.decoder_start is not None
        named = {special.bos, special.pad, special.unk, special.mask, *special.eos} - {None}
        marks = {piece for piece, number in self._ids.items() if number in named or piece.startswith("<extra_id_")}
        self.control = frozenset(marks)
        self._marks = re.compile("(" + "|".join(map(re.escape, sorted(self.control, key=len, reverse=True))) + ")")

    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> TokenIds:
        target = _TARGET.match(text)
        first = [self._ids[target[0]]] if target and target[0] in self._ids else []
        rest = text[len(target[0]) :].lstrip() if target and first else text
        parts = self._marks.split(rest) if parse_special and self.control else [rest]
        ids = [*first, *(number for part in parts for number in self._part(part, parse_special))]
        return (*self._before, *ids, *self._after) if add_special else tuple(ids)

    def _part(self, text: str, parse_special: bool) -> list[int]:
        if parse_special and text in self.control:
            return [self._ids[text]]
        unknown = self.special.unk if self.special.unk is not None else 0
        return [self._ids.get(piece, unknown) for piece in self._source.encode(text, out_type=str)]

    def encode_pair(self, first: str, second: str) -> Encoded:
        ids = (*self._before, *self.encode(first), *self._after, *self.encode(second), *self._after)
        return Encoded(ids, (0,) * len(ids))

    def encode_batch(self, texts: Sequence[str], *, add_special: bool = False) -> list[TokenIds]:
        return [self.encode(text, add_special=add_special) for text in texts]

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        shown = [number for number in ids if not (skip_special and self._pieces.get(number) in self.control)]
        return b"".join(map(self.token_bytes, shown)).decode("utf-8", "replace").removeprefix(" ")

    def token_bytes(self, token_id: int) -> bytes:
        piece = self._pieces.get(token_id, "")
        byte = _BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace("▁", " ").encode()

    def token_to_id(self, token: str) -> int | None:
        return self._ids.get(token)

    def stream(self) -> TextStream:
        return ByteStream(self._streamed, strip_space=self._writes)

    def _streamed(self, token_id: int) -> bytes:
        return b"" if self._pieces.get(token_id) in self.control else self.token_bytes(token_id)


def load_sentencepiece(folder: Path, named: Mapping[str, Any], config: Mapping[str, Any]) -> Tokenizer:
    """named: tokenizer_config.json; config: config.json. Raises MissingExtra, CorruptFile, ModelFileError."""
    kind = str(named.get("tokenizer_class", ""))
    if kind.startswith(_SHIFTED):
        raise ModelFileError(
            f"The ids of {kind} are not those of its SentencePiece file.", hint="Add the tokenizer.json of the model to its folder."
        )
    if (folder / "source.spm").is_file():
        return _marian(folder, config)
    name = next(name for name in ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model") if (folder / name).is_file())
    model = _processor(folder / name)
    ids = {model.id_to_piece(i): i for i in range(model.get_piece_size())}
    seq2seq = _number(config, "decoder_start_token_id") is not None or config.get("model_type") in ("t5", "mt5", "umt5")
    if seq2seq:
        for i in range(int(named.get("extra_ids", 100))):  # T5's sentinels lie after the pieces, in falling order
            ids.setdefault(f"<extra_id_{int(named.get('extra_ids', 100)) - 1 - i}>", model.get_piece_size() + i)
    special = SpecialTokens(
        bos=_valid(model.bos_id()),
        eos=tuple(i for i in (_valid(model.eos_id()),) if i is not None),
        pad=_valid(model.pad_id()),
        unk=_valid(model.unk_id()),
        decoder_start=(_number(config, "decoder_start_token_id") or 0) if seq2seq else None,
    )
    before = (special.bos,) if special.bos is not None and not seq2seq and named.get("add_bos_token", True) else ()
    after = special.eos if seq2seq or named.get("add_eos_token", False) else ()
    return SentencePieceTokenizer(model, ids, special, before=before, after=after)


def _marian(folder: Path, config: Mapping[str, Any]) -> Tokenizer:
    try:
        ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        eos, pad, unk = int(ids["</s>"]), int(ids["<pad>"]), int(ids["<unk>"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CorruptFile(f"vocab.json of {folder.name} cannot be read: {problem!r}.", hint="Download it again.") from None
    start = _number(config, "decoder_start_token_id")
    special = SpecialTokens(eos=(eos,), pad=pad, unk=unk, decoder_start=pad if start is None else start)
    return SentencePieceTokenizer(_processor(folder / "source.spm"), ids, special, after=(eos,))


def _processor(path: Path) -> Any:
    try:
        import sentencepiece
    except ImportError:
        raise MissingExtra("torch", needed_for=f"The SentencePiece file {path.name}") from None
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as problem:
        raise CorruptFile(f"{path.name} cannot be read: {str(problem)[:200]}.", hint="Download it again.") from None


def _valid(number: int) -> int | None:
    return number if number >= 0 else None


def _number(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
