"""Targets whose input is text: tokenizer files, chat templates, model names, file names inside models, URLs.

Beside "no crash", each call asserts what must hold of an input that was taken: a path stays inside, an address is public.
"""

from __future__ import annotations

import ipaddress
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmos.errors import InvalidValue
from llmos.infra import address
from llmos.library.names import Reference, checked_name, default_name, parse, relative_path, slug
from llmos.text.load import load_chat_template, load_tokenizer
from llmos.text.render import JinjaTemplate
from llmos.text.shield import Shield
from llmos.types import Message

_LETTERS = {letter: place for place, letter in enumerate("abcdefghijklmnopqrstuvwxyzĠ_▁ABC<>|")}
_FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
_ADDED = [
    {"id": len(_LETTERS) + place, "content": text, "special": special, **_FLAGS}
    for place, (text, special) in enumerate((("<s>", True), ("<|end|>", True), ("<tool>", False)))
]
_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_PARTS: dict[str, dict[str, Any]] = {
    "bpe": {
        "pre_tokenizer": _LEVEL,
        "decoder": _LEVEL,
        "model": {"type": "BPE", "vocab": _LETTERS | {"ab": 50, "abc": 51}, "merges": [["a", "b"], ["ab", "c"]]},
    },
    "wordpiece": {
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["<s>", 35], "cls": ["<|end|>", 36]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": _LETTERS,
        },
    },
    "unigram": {
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [[letter, -1.5] for letter in _LETTERS], "byte_fallback": False},
    },
}  # fmt: skip
TOKENIZERS = tuple(json.dumps({"version": "1.0", "added_tokens": _ADDED, **parts}).encode() for parts in _PARTS.values())

TEMPLATES = (
    b"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    b"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    b"{%- set ns = namespace(found=false, last=messages|length - 1) -%}{{ bos_token }}{%- for m in messages[::-1] %}"
    b"{%- if m.role not in ['user', 'assistant'] %}{{ raise_exception('no ' ~ m.role) }}{% endif %}"
    b"{%- set ns.found = loop.index0 > ns.last %}[{{ loop.index }}]{{ m.content.split('</think>')[-1].lstrip('\\n') }}"
    b"{% if tools %}{{ tools | tojson(indent=4) }}{% endif %}{% if loop.last %}{% break %}{% endif %}{% endfor %}",
    b"{% macro show(x, depth=2) %}{% if depth %}{{ show(x, depth - 1) }}{% endif %}{{ x|upper|replace('A', 'b') }}{% endmacro %}"
    b"{% generation %}{{ show(messages[0].content) }}{% endgeneration %}{{ strftime_now('%d %b %Y') }}{# c #}{{ range(3)|list }}",
)
NAMES = (
    b"smollm2-135m-instruct:0123456789ab", b"hf:google-bert/bert-base-uncased@main:onnx/model.onnx", b"ms:Qwen/Qwen3@v1.0",
    b"pypi:my.pkg-1==1.0/my_pkg/models/model-{nn}.gguf", b"file:///models/a%20b.gguf", b"ollama:library/qwen3:0.6b",
    b"https://example.org/a/m.gguf?x=1#sha256=" + b"a" * 64, b"remote:gpt-4o", b"../../etc/passwd", b"org/repo", b"~/model",
)  # fmt: skip
PATHS = (b"onnx/model.onnx", b"model-00001-of-00002.safetensors", b"a/../../b", b"/etc/passwd", b"C:\\x", b"a//b", b"./x", b"a/.")
URLS = (
    b"https://huggingface.co/api/models", b"https://user:word@example.org/x?token=1#f", b"http://127.0.0.1:9/x", b"https://[::1]/",
    b"https://10.0.0.1:8080/", b"https://[::ffff:192.168.0.1]/", b"https://[2606:4700::1111]/x", b"HTTPS://EXAMPLE.org./%2e%2e/",
    b"https://[64:ff9b::a00:1]/", b"https://0x7f.1/", b"https://2130706433/", b"file:///etc/passwd", b"https://1.1.1.1@10.0.0.1/",
    "https://ex\u00e4mple.org/\u2028".encode(), b"//example.org", b"https://169.254.169.254/latest/meta-data",
)  # fmt: skip
_TRUSTED = "http://127.0.0.1:9"
_TEXT = "Abc <s> <|end|> <tool> déjà \x00 你好 " + "ab" * 40
_CHAT = [Message(role="user", content="Abc </think> <|im_end|>"), Message(role="assistant", content="x")]


def _text(path: Path) -> str:
    """As names and URLs reach LLMOS: from JSON or a terminal, where half a surrogate pair can come along."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def tokenizer(path: Path) -> None:
    loaded = load_tokenizer(path.parent)
    for ids in (
        loaded.encode(_TEXT),
        loaded.encode(_TEXT, add_special=True, parse_special=True),
        loaded.encode_pair("a", "b c").ids,
    ):
        loaded.decode(ids)
        stream = loaded.stream()
        stream.push(ids)
        stream.flush()
    shield = Shield(loaded)
    shield.encode("".join(message.content for message in shield.messages([Message(role="user", content=_TEXT)])))


@cache
def _renderer() -> JinjaTemplate:
    return JinjaTemplate("")


def template(path: Path) -> None:
    """Of the child process that renders, only its verdict counts here; its limits are its own."""
    loaded = load_chat_template(path.parent)
    assert isinstance(loaded, JinjaTemplate)
    _renderer().source = _renderer()._tool_source = loaded.source  # one child process for all cases
    _renderer().render(_CHAT)


def name(path: Path) -> None:
    reference = parse(_text(path))
    try:
        again: Reference | str = parse(str(reference))
    except InvalidValue as refusal:
        again = str(refusal)
    assert again == reference, f"{reference} is read back as {again}"
    given = default_name(reference)
    if reference.scheme not in ("file", "remote"):
        assert checked_name(given) == given
    slug(reference.place)


def inner_path(path: Path) -> None:
    taken = relative_path(_text(path))
    place = Path("/models/x")
    assert (place / taken).is_relative_to(place)
    assert ".." not in (place / taken).parts
    assert taken.isprintable()


def url(path: Path) -> None:
    """Every host "resolves" to itself where it is an address and else to a private one: only public addresses may come out."""

    def resolver(host: str, _port: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            return ["10.0.0.7"]

    guard = address.Guard((_TRUSTED,), resolver=resolver)
    taken = guard.check(_text(path))
    shown = address.shown(taken)
    assert "@" not in urlsplit(shown).netloc
    assert not urlsplit(shown).query
    if address.Origin.of(taken) == ("http", "127.0.0.1", 9):
        return
    assert taken.scheme == "https"
    assert not taken.userinfo
    if (taken.host, taken.port) == ("127.0.0.1", 9):
        return  # the place that is trusted, over https
    for found in guard.addresses(taken.host, taken.port or 443):
        assert ipaddress.ip_address(found).is_global, f"{shown} leads to {found}"
