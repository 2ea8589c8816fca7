"""Vocabularies inside GGUF files that no test asset carries: SentencePiece, WordPiece, beginnings and ends, damage."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, ModelFileError
from llmos.text import gguf_vocab
from llmos.text.fast import FastTokenizer
from llmos.text.load import load_tokenizer
from tests.text.samples import texts

CORPUS = Path(__file__).parent.parent.parent / "src" / "llmos"


def _metadata(kind: str, **keys: Any) -> dict[str, Any]:
    return {f"tokenizer.ggml.{key}": value for key, value in {"model": kind, **keys}.items()}


def test_sentencepiece_ids_equal_those_of_sentencepiece(tmp_path: Path) -> None:
    """A vocabulary trained here, with byte fallback as Llama has it, read back through GGUF's arrays."""
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = [line for path in sorted(CORPUS.glob("*.py")) for line in path.read_text().splitlines()] + texts(0)
    (tmp_path / "lines.txt").write_text("\n".join(line.replace("\n", " ") for line in lines))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "lines.txt"), model_prefix=str(tmp_path / "m"), vocab_size=1500, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, character_coverage=0.98, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m.model"))
    numbers = range(model.get_piece_size())
    types = [
        gguf_vocab.UNKNOWN if model.is_unknown(i) else gguf_vocab.CONTROL if model.is_control(i)
        else gguf_vocab.BYTE if model.is_byte(i) else gguf_vocab.NORMAL
        for i in numbers
    ]  # fmt: skip
    pieces, scores = [model.id_to_piece(i) for i in numbers], [model.get_score(i) for i in numbers]
    keys = {"tokens": pieces, "scores": scores, "token_type": types, "bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    tokenizer = FastTokenizer(*gguf_vocab.build(_metadata("llama", **keys)))
    for text in (text for text in texts() if text):
        assert list(tokenizer.encode(text)) == model.encode(text), repr(text)
        assert tokenizer.decode(tokenizer.encode(text)) == text
        stream = tokenizer.stream()
        streamed = "".join(stream.push([i]) for i in tokenizer.encode(text)) + stream.flush()
        assert streamed == " " + text  # what continues somebody's text keeps the space of its first word
    assert tokenizer.encode("a", add_special=True)[0] == 1
    assert 1 not in tokenizer.encode("<s>")
    assert tokenizer.encode("<s>", parse_special=True) == (1,)


def test_wordpiece_is_the_one_of_the_model(asset: Callable[[str], Path]) -> None:
    """MiniLM's vocabulary written the way llama.cpp's converter writes it: ▁ before words, no ## before the rest."""
    reference = load_tokenizer(asset("minilm"))
    words = (asset("minilm") / "vocab.txt").read_text().splitlines()
    marked = [w if w[:1] == "[" and w[-1:] == "]" and len(w) > 2 else w[2:] if w.startswith("##") else "▁" + w for w in words]
    types = [gguf_vocab.CONTROL if w in ("[PAD]", "[CLS]", "[SEP]", "[MASK]") else gguf_vocab.NORMAL for w in words]
    keys = {"tokens": marked, "token_type": types, "cls_token_id": 101, "seperator_token_id": 102, "mask_token_id": 103}
    tokenizer = FastTokenizer(*gguf_vocab.build(_metadata("bert", **keys)))
    for text in texts():
        assert tokenizer.encode(text, add_special=True) == reference.encode(text, add_special=True), repr(text)
    assert tokenizer.encode_pair("a b", "c") == reference.encode_pair("a b", "c")
    assert (tokenizer.special.mask, tokenizer.special.cls, tokenizer.special.sep) == (103, 101, 102)


def _bytes_vocabulary(**keys: Any) -> dict[str, Any]:
    from llmos.text.fast import byte_table

    tokens = [*byte_table(), "<s>", "</s>"]
    types = [gguf_vocab.NORMAL] * 256 + [gguf_vocab.CONTROL] * 2
    given = {"tokens": tokens, "token_type": types, "merges": [], "bos_token_id": 256, "eos_token_id": 257, "pre": "gpt-2"}
    return _metadata("gpt2", **(given | keys))


@pytest.mark.parametrize(("bos", "eos"), list(itertools.product([True, False], repeat=2)))
def test_beginning_and_end_as_the_file_says(bos: bool, eos: bool) -> None:
    tokenizer = FastTokenizer(*gguf_vocab.build(_bytes_vocabulary(add_bos_token=bos, add_eos_token=eos)))
    ids = tokenizer.encode("ab", add_special=True)
    assert (ids[0] == 256, ids[-1] == 257) == (bos, eos)
    assert len(ids) == 2 + bos + eos


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pre": "no-such-rule"}, "no-such-rule"),
        ({"tokens": []}, "no vocabulary"),
        ({"tokens": [1, 2]}, "must hold str"),
        ({"token_type": [1]}, "1 token types"),
        ({"merges": ["ab"]}, "no second part"),
        ({"merges": ["a xyz"]}, "vocabulary in the GGUF file is broken"),
        ({"model": "t5"}, "'t5'"),
        ({"model": "llama"}, "0 scores"),
    ],
)
def test_damage_is_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises((CorruptFile, ModelFileError), match=message):
        gguf_vocab.build(_bytes_vocabulary() | _metadata(keys.pop("model", "gpt2"), **keys))
