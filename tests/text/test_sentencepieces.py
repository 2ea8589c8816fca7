"""T5 and Marian tokenizers from their SentencePiece files, against transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmos.errors import CorruptFile, ModelFileError
from llmos.text.load import load_tokenizer
from tests.text.samples import FIXED

sentencepiece = pytest.importorskip("sentencepiece")
WORDS = Path(__file__).parent.parent.parent / "LICENSE"
PLAIN = [text for text in FIXED if text and "<" not in text and "\x01" not in text and len(text) < 300]  # long runs: equal scores


def _train(folder: Path, name: str, **options: object) -> None:
    (folder / "lines.txt").write_text(WORDS.read_text() + "\n".join(text.replace("\n", " ") for text in PLAIN))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "lines.txt"), model_prefix=str(folder / "m"), vocab_size=500, minloglevel=2, **options
    )
    (folder / "m.model").rename(folder / name)


def test_t5(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    _train(tmp_path, "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "decoder_start_token_id": 0}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "T5Tokenizer", "extra_ids": 100}))
    tokenizer, reference = load_tokenizer(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in PLAIN:
        assert list(tokenizer.encode(text, add_special=True)) == reference(text)["input_ids"], repr(text)
    assert tokenizer.special.decoder_start == 0
    assert tokenizer.special.eos == (1,)
    ids = tokenizer.encode("the caller asked", add_special=True)
    assert tokenizer.decode(ids) == "the caller asked"
    stream = tokenizer.stream()
    assert "".join(stream.push([i]) for i in ids) + stream.flush() == "the caller asked"
    assert tokenizer.token_to_id("<extra_id_0>") == reference.convert_tokens_to_ids("<extra_id_0>")
    assert tokenizer.encode("<extra_id_0>", parse_special=True) == (tokenizer.token_to_id("<extra_id_0>"),)
    assert len(tokenizer.encode("</s>")) > 1


def test_marian_reads_with_one_file_and_writes_with_another(tmp_path: Path) -> None:
    _train(tmp_path, "source.spm", hard_vocab_limit=False)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "source.spm"))
    pieces = [model.id_to_piece(i) for i in range(3, model.get_piece_size())]
    ids = {piece: i for i, piece in enumerate(["</s>", "<unk>", *reversed(pieces), "<pad>"])}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "marian", "decoder_start_token_id": ids["<pad>"]}))
    tokenizer = load_tokenizer(tmp_path)
    encoded = tokenizer.encode("the model asked", add_special=True)
    assert encoded == (*(ids[piece] for piece in model.encode("the model asked", out_type=str)), 0)
    assert tokenizer.decode(encoded) == "the model asked"
    assert tokenizer.vocab_size == len(ids)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(CorruptFile, match=r"vocab\.json"):
        load_tokenizer(tmp_path)


def test_what_it_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(b"no model")
    with pytest.raises(CorruptFile, match=r"spiece\.model"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    with pytest.raises(ModelFileError, match="XLMRobertaTokenizer"):
        load_tokenizer(tmp_path)
