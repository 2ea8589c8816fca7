"""Tokenizers against those of the engines: the same ids, exact round trips, nothing cut."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmos.errors import CorruptFile, NotFound
from llmos.text.load import load_chat_template, load_tokenizer
from llmos.types import Message
from tests.doubles import make_model
from tests.text.samples import texts

Asset = Callable[[str], Path]


@pytest.mark.parametrize("name", ["smollm2", "qwen"])
def test_ids_equal_those_of_llama_cpp(asset: Asset, name: str) -> None:
    import xllamacpp

    folder = asset(name)
    tokenizer = load_tokenizer(folder)
    params = xllamacpp.CommonParams()
    params.model.path = str(next(folder.glob("*.gguf")))
    params.n_ctx, params.warmup = 256, False
    server = xllamacpp.Server(params)

    def reference(text: str, parse_special: bool) -> list[int]:
        body = json.dumps({"content": text, "parse_special": parse_special, "add_special": False}).encode()
        request = urllib.request.Request(
            f"{server.listening_address}/tokenize", data=body, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            ids: list[int] = json.load(answer)["tokens"]
        return ids

    for text in texts():
        for parse_special in (False, True):
            assert list(tokenizer.encode(text, parse_special=parse_special)) == reference(text, parse_special), repr(text)


@pytest.mark.parametrize("name", ["minilm", "bert-tiny-mlm"])
def test_ids_equal_those_of_transformers(asset: Asset, name: str) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer, reference = load_tokenizer(asset(name)), transformers.AutoTokenizer.from_pretrained(asset(name))
    plain = [text for text in texts() if "[" not in text]
    for text in plain:
        assert list(tokenizer.encode(text, add_special=True, parse_special=True)) == reference(text)["input_ids"], repr(text)
    assert tokenizer.encode_batch(plain) == [tokenizer.encode(text) for text in plain]
    pair = tokenizer.encode_pair("first text", "second")
    expected = reference("first text", "second")
    assert (list(pair.ids), list(pair.type_ids)) == (expected["input_ids"], expected["token_type_ids"])


@pytest.mark.parametrize("name", ["smollm2", "qwen"])
def test_round_trip_and_stream_are_exact(asset: Asset, name: str) -> None:
    tokenizer = load_tokenizer(asset(name))
    for text in texts():
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert b"".join(tokenizer.token_bytes(i) for i in ids) == text.encode()
        stream = tokenizer.stream()
        pieces = [stream.push([i]) for i in ids]
        assert "".join(pieces) + stream.flush() == text
        assert not any("\ufffd" in piece for piece in pieces)


def test_special_tokens(asset: Asset) -> None:
    smol, mini = load_tokenizer(asset("smollm2")), load_tokenizer(asset("minilm"))
    assert smol.vocab_size == 49152
    assert smol.special.eos == (2, 0)  # <|im_end|>, <|endoftext|>
    assert (mini.special.mask, mini.special.cls, mini.special.sep, mini.special.pad) == (103, 101, 102, 0)
    assert mini.encode("[MASK]", parse_special=True) == (103,)
    assert 103 not in mini.encode("[MASK]")
    assert 2 not in smol.encode("<|im_end|>")  # what a user wrote cannot end a turn
    assert smol.decode((2,)) == ""
    assert smol.decode((2,), skip_special=False) == "<|im_end|>"
    assert smol.token_bytes(2) == b"<|im_end|>"
    assert (smol.token_to_id("<|im_end|>"), smol.token_to_id("no such token")) == (2, None)


def test_padding_of_the_file_is_no_vocabulary(asset: Asset) -> None:
    assert load_tokenizer(asset("qwen")).vocab_size == 151665  # the file has 151936 rows


def test_stream_holds_back_half_characters(asset: Asset) -> None:
    tokenizer = load_tokenizer(asset("smollm2"))
    ids = tokenizer.encode("😀")
    assert len(ids) > 1
    stream = tokenizer.stream()
    assert [stream.push([i]) for i in ids] == [""] * (len(ids) - 1) + ["😀"]
    stream = tokenizer.stream()
    assert stream.push(ids[:1]) == ""
    assert stream.flush() == "\ufffd"


def test_long_text_is_not_cut(asset: Asset) -> None:
    """MiniLM's tokenizer.json asks for truncation at 128 tokens and padding to 128."""
    tokenizer = load_tokenizer(asset("minilm"))
    assert len(tokenizer.encode("word " * 1000, add_special=True)) == 1002
    assert len(tokenizer.encode("word", add_special=True)) == 3


def test_threads_do_not_disturb_each_other(asset: Asset) -> None:
    tokenizer = load_tokenizer(asset("smollm2"))
    text = "<|im_start|>user\nhi<|im_end|>"
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda i: tokenizer.encode(text, parse_special=bool(i % 2)), range(400)))
    assert len(set(results[::2])) == len(set(results[1::2])) == 1
    assert results[0] != results[1]


def test_missing_and_broken_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": {}}')
    with pytest.raises(CorruptFile, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[1]")
    with pytest.raises(CorruptFile, match="must be an object"):
        load_chat_template(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("chat_template.jinja", "{{ bos_token }}{{ messages[0].content }}", "<s>hi"),
        ("tokenizer_config.json", {"bos_token": {"content": "<b>"}, "chat_template": "{{ bos_token }}!"}, "<b>!"),
        ("tokenizer_config.json", {"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]}, "d"),
        ("chat_template.json", {"chat_template": "old place"}, "old place"),
    ],
)
def test_places_of_a_chat_template(tmp_path: Path, name: str, content: Any, expected: str) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>"}')
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    template = load_chat_template(tmp_path)
    assert template is not None
    assert template.render([Message(role="user", content="hi")]) == expected


def test_base_model_has_no_template(asset: Asset) -> None:
    assert load_chat_template(asset("minilm")) is None


def test_a_damaged_tokenizer_is_corrupt_and_nothing_worse(tmp_path: Path) -> None:
    """Mutations of real files, with a seed: whatever is wrong, at load or on a text, is a CorruptFile (the library may panic)."""
    rng = random.Random(5)
    source = make_model(tmp_path / "good") / "tokenizer.json"
    words = {"[UNK]": 0, "hello": 1, "##s": 2}
    wordpiece = {"type": "WordPiece", "vocab": words, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    second = json.dumps(
        {"model": wordpiece | {"max_input_chars_per_word": 100}, "added_tokens": [], "decoder": {"type": "WordPiece"}}
    )
    folder, outcomes = tmp_path / "bad", {"ok": 0, "corrupt": 0}
    folder.mkdir()
    for number in range(400):
        data = bytearray(source.read_bytes() if number % 2 else second.encode())
        place = rng.randrange(len(data))
        new = rng.choice([b"0", b"-1", b"99999999999", b'""', b"null", b"[]", b"{}", bytes([rng.randrange(256)])])
        data[place : place + rng.randrange(6)] = new
        (folder / "tokenizer.json").write_bytes(data)
        try:
            tokenizer = load_tokenizer(folder)
            for text in ("hello hellos", "wörld 😀 <s>"):
                tokenizer.decode(tokenizer.encode(text, add_special=True, parse_special=True))
                tokenizer.encode_pair(text, text)
            outcomes["ok"] += 1
        except CorruptFile:
            outcomes["corrupt"] += 1
    assert min(outcomes.values()) > 20, outcomes


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"{{ messages }}\xff")
    with pytest.raises(CorruptFile, match=r"chat_template\.jinja is not UTF-8"):
        load_chat_template(tmp_path)
