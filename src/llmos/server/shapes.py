"""Records of the engine in the shapes of the OpenAI API: usage, log-probabilities, tool calls, finish reasons."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from llmos.errors import Cancelled
from llmos.text.base import Tokenizer
from llmos.types import FinishReason, TokenLogprob, ToolCall, Usage


def event(data: dict[str, Any], name: str = "") -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def finish_of(reason: FinishReason | None) -> str | None:
    """OpenAI's word for it. An answer that somebody cut short is an error, not an answer."""
    if reason == "cancelled":
        raise Cancelled("The generation was cancelled on the server.", hint="The model was unloaded or the server is stopping.")
    return reason


def tool_calls_of(calls: Iterable[ToolCall]) -> list[dict[str, Any]]:
    return [{"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in calls]


def finite(logprob: float) -> float:
    """JSON has no infinity; OpenAI writes -9999.0 for a token that cannot come."""
    return max(logprob, -9999.0)


def _texts(entry: TokenLogprob, tokenizer: Tokenizer | None) -> list[bytes]:
    """The bytes of the token and of each alternative."""
    if tokenizer is None:
        return [text.encode() for text in entry.texts]
    return [tokenizer.token_bytes(token) for token in (entry.token_id, *(token for token, _ in entry.top))]


def chat_logprobs(entries: Sequence[TokenLogprob], tokenizer: Tokenizer | None) -> list[dict[str, Any]]:
    """chat/completions `logprobs.content`: one entry a token with its alternatives."""
    content = []
    for entry in entries:
        chosen, *others = _texts(entry, tokenizer)
        top = [_token(text, logprob) for text, (_, logprob) in zip(others, entry.top, strict=True)]
        content.append({**_token(chosen, entry.logprob), "top_logprobs": top})
    return content


def _token(text: bytes, logprob: float) -> dict[str, Any]:
    return {"token": text.decode("utf-8", "replace"), "logprob": finite(logprob), "bytes": list(text)}


def _legacy_token(text: bytes) -> str:
    """OpenAI writes a token that is no whole character as bytes:\\xe4, so that tokens stay distinct."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)


def completion_logprobs(
    entries: Sequence[TokenLogprob | None], ids: Sequence[int], tokenizer: Tokenizer | None, *, offset: int = 0
) -> dict[str, list[Any]]:
    """completions `logprobs`. A None entry (the first token of an echoed prompt) has no probability; `ids` names its token.

    top_logprobs always holds the chosen token too, as OpenAI's does.
    """
    tokens: list[str] = []
    offsets: list[int] = []
    top: list[dict[str, float] | None] = []
    for token_id, entry in zip(ids, entries, strict=True):
        texts = _texts(entry or TokenLogprob(token_id, 0.0), tokenizer)
        tokens.append(_legacy_token(texts[0]))
        offsets.append(offset)
        offset += len(texts[0].decode("utf-8", "ignore"))
        if entry is None:
            top.append(None)
            continue
        found = {
            _legacy_token(text): finite(logprob) for text, (_, logprob) in reversed(list(zip(texts[1:], entry.top, strict=True)))
        }
        top.append(
            dict(sorted((found | {tokens[-1]: finite(entry.logprob)}).items(), key=lambda item: -item[1])) if entry.top else {}
        )
    return {
        "tokens": tokens,
        "token_logprobs": [finite(entry.logprob) if entry else None for entry in entries],
        "top_logprobs": top,
        "text_offset": offsets,
    }
