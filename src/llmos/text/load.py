"""Finds a model's tokenizer and chat template among its files, whatever format they come in.

    load_tokenizer       tokenizer.json  >  the vocabulary of a .gguf  >  SentencePiece (.model, .spm)
    load_chat_template   chat_template.jinja  >  tokenizer_config.json  >  chat_template.json  >  tokenizer.chat_template of a .gguf

Nothing here loads weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmos.errors import CorruptFile, NotFound
from llmos.infra.gguf import read_gguf
from llmos.text import gguf_vocab
from llmos.text.base import ChatTemplate, SpecialTokens, Tokenizer
from llmos.text.fast import FastTokenizer, guarded

MAX_JSON_BYTES = 256 << 20  # the largest tokenizer.json in use (Gemma, 262k tokens) has 33 MB
_NAMES = ("bos", "eos", "pad", "unk", "mask", "sep", "cls")


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of the model whose files lie in `folder`.

    Raises NotFound naming what was looked for, CorruptFile, ModelFileError for a kind that LLMOS cannot read, MissingExtra
    when only a SentencePiece file is there and the library for it is not installed.
    """
    if (folder / "tokenizer.json").is_file():
        return _from_tokenizer_json(folder)
    for path in _gguf_files(folder):
        return FastTokenizer(*gguf_vocab.build(read_gguf(path).metadata))
    for name in ("source.spm", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"):
        if (folder / name).is_file():
            from llmos.text.sentencepieces import load_sentencepiece

            return load_sentencepiece(folder, read_config(folder, "tokenizer_config.json"), read_config(folder, "config.json"))
    raise NotFound(
        f"No tokenizer in {folder.name}: no tokenizer.json, .gguf, .spm or .model file.",
        hint="Pull the model again, or add the tokenizer.json it was published with.",
    )


def load_chat_template(folder: Path) -> ChatTemplate | None:
    """The chat template of the model in `folder`, or None where it has none (a base model)."""
    from llmos.text.render import JinjaTemplate

    config = read_config(folder, "tokenizer_config.json")
    names = {key: value for key, value in config.items() if key.endswith("_token")}
    tokens = {key: token for key, value in names.items() if (token := _content(value)) is not None}
    sources = _sources_beside(folder, config)
    if not sources:
        for path in _gguf_files(folder):
            metadata = read_gguf(path).metadata
            sources = {
                key.removeprefix("tokenizer.chat_template").lstrip(".") or "default": value
                for key, value in metadata.items()
                if key.startswith("tokenizer.chat_template") and isinstance(value, str)
            }
            tokens = _gguf_tokens(metadata)
            break
    if not sources:
        return None
    first = sources.get("default") or next(iter(sources.values()))
    return JinjaTemplate(first, tool_source=sources.get("tool_use"), tokens=tokens)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """A JSON object beside the model, {} where there is no such file. Raises CorruptFile."""
    path = folder / name
    if not path.is_file():
        return {}
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CorruptFile(f"{name} has {path.stat().st_size} bytes, more than {MAX_JSON_BYTES}.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise CorruptFile(f"{name} is not JSON: {problem}.", hint="Download it again.") from None
    if not isinstance(value, dict):
        raise CorruptFile(f"{name} holds a {type(value).__name__}; it must be an object.")
    return value


def _from_tokenizer_json(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer as Rust

    path = folder / "tokenizer.json"
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CorruptFile(f"tokenizer.json has {path.stat().st_size} bytes, more than {MAX_JSON_BYTES}.")
    with guarded("tokenizer.json"):
        inner = Rust.from_file(str(path))
    special = _special_tokens(folder, inner)
    return FastTokenizer(inner, special, strip_space=special.decoder_start is not None)


def _special_tokens(folder: Path, inner: Any) -> SpecialTokens:
    """Names from tokenizer_config.json and special_tokens_map.json, ids from config.json and generation_config.json."""
    named = read_config(folder, "special_tokens_map.json") | read_config(folder, "tokenizer_config.json")
    config, generation = read_config(folder, "config.json"), read_config(folder, "generation_config.json")
    ids: dict[str, int | None] = {}
    for name in _NAMES:
        token = _content(named.get(f"{name}_token"))
        configured = next(_integers(generation.get(f"{name}_token_id"), config.get(f"{name}_token_id")), None)
        found = inner.token_to_id(token) if token is not None else None
        ids[name] = found if found is not None else configured
    eos = tuple(dict.fromkeys(_integers(generation.get("eos_token_id"), config.get("eos_token_id"), ids.pop("eos"))))
    decoder_start = next(_integers(generation.get("decoder_start_token_id"), config.get("decoder_start_token_id")), None)
    return SpecialTokens(eos=eos, decoder_start=decoder_start, **ids)


def _integers(*values: Any) -> Iterator[int]:
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, int) and not isinstance(item, bool):
                yield item


def _content(token: Any) -> str | None:
    """A token is written as its text or as {"content": text, …}."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _gguf_files(folder: Path) -> list[Path]:
    """The .gguf files, the first part of a split one first; the vocabulary is in the first."""
    return sorted(folder.glob("*.gguf"))


def _sources_beside(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """Templates by name from the files of a Hugging Face repository."""
    if (folder / "chat_template.jinja").is_file():
        more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
        return {"default": _template(folder / "chat_template.jinja")} | {path.stem: _template(path) for path in more}
    found = config.get("chat_template") or read_config(folder, "chat_template.json").get("chat_template")
    if isinstance(found, str):
        return {"default": found}
    entries = [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
    return {str(entry.get("name")): str(entry.get("template")) for entry in entries if entry.get("template")}


def _template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as problem:
        raise CorruptFile(f"{path.name} is not UTF-8: {problem}.", hint="Download it again.") from None


def _gguf_tokens(metadata: dict[str, Any]) -> dict[str, str]:
    tokens = metadata.get("tokenizer.ggml.tokens") or []
    found = {}
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(number, int) and 0 <= number < len(tokens):
            found[f"{name}_token"] = str(tokens[number])
    return found
