"""One line of a batch input: read, held to the rules, and measured for the plan. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmos.engine.batch.base import MAX_LINE_BYTES, Item, LineProblem, Rules

BYTES_PER_TOKEN = 4  # of text, about; the order of work needs no more
DEFAULT_ANSWER = 256  # tokens of an answer whose length is not limited
MAX_NAME = 512  # characters of a custom_id
HEAD_CHARS = 512  # of a single text: what another one shares with it beyond that is worth computing once
_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class LineRefused(ValueError):
    """Carries the LineProblem."""

    def __init__(self, code: str, message: str, line: int, param: str | None = None) -> None:
        super().__init__(message)
        self.problem = LineProblem(code=code, message=message, line=line, param=param)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the order of work needs to know of an item. tokens: read and written, about. root: 64 bits of what it opens with
    (model, tools, first message); prefix: of all that comes before its own last part."""

    tokens: int
    root: int
    prefix: int


def parse(raw: bytes, rules: Rules, *, number: int, line: int) -> Item:
    """The item of a line. Raises LineRefused."""
    if len(raw) > MAX_LINE_BYTES:
        raise LineRefused("line_too_long", f"The line has more than {MAX_LINE_BYTES} bytes.", line)
    try:
        found = json.loads(raw)
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no character
    except (ValueError, RecursionError) as problem:
        raise LineRefused("invalid_json_line", f"This line is not valid JSON: {str(problem)[:200]}", line) from None
    if not isinstance(found, dict):
        raise LineRefused("invalid_json_line", "This line is not a JSON object.", line)
    if rules.plain and "body" not in found:
        custom_id, body = _plain(found, rules, line)
    else:
        custom_id, body = _request(found, rules, line)
    if len(custom_id) > MAX_NAME:
        raise LineRefused("invalid_type", f"custom_id has more than {MAX_NAME} characters.", line, "custom_id")
    if rules.model is not None:
        body["model"] = rules.model
    elif not isinstance(body.get("model"), str) or not body["model"]:
        raise LineRefused("missing_required_parameter", "body.model is missing.", line, "body.model")
    return Item(number=number, line=line, custom_id=custom_id, body=body)


def _request(found: dict[str, Any], rules: Rules, line: int) -> tuple[str, dict[str, Any]]:
    for field, kind in (("custom_id", str), ("method", str), ("url", str), ("body", dict)):
        if not found.get(field):
            raise LineRefused("missing_required_parameter", f"{field} is missing.", line, field)
        if not isinstance(found[field], kind):
            raise LineRefused("invalid_type", f"{field} is not {'an object' if kind is dict else 'a string'}.", line, field)
    if found["method"] != "POST":
        raise LineRefused("invalid_method", f"method is {found['method'][:32]!r}; only 'POST' is served.", line, "method")
    if found["url"] != rules.endpoint:
        message = f"url is {found['url'][:64]!r}; the endpoint of this batch is {rules.endpoint!r}."
        raise LineRefused("invalid_url", message, line, "url")
    unknown = sorted(set(found) - {"custom_id", "method", "url", "body"})
    if unknown:
        raise LineRefused("unknown_parameter", f"Unknown field {unknown[0][:64]!r}.", line, unknown[0][:64])
    return found["custom_id"], found["body"]


def _plain(found: dict[str, Any], rules: Rules, line: int) -> tuple[str, dict[str, Any]]:
    """A line that is a body itself; a `prompt` is asked as a chat where the endpoint chats."""
    custom_id = found.pop("custom_id", str(line))
    if not isinstance(custom_id, str) or not custom_id:
        raise LineRefused("invalid_type", "custom_id is not a string.", line, "custom_id")
    wanted = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}.get(rules.endpoint, "input")
    if wanted == "messages" and isinstance(found.get("prompt"), str) and "messages" not in found:
        found["messages"] = [{"role": "user", "content": found.pop("prompt")}]
    if wanted not in found:
        raise LineRefused("missing_required_parameter", f"The line has neither body nor {wanted}.", line, wanted)
    return custom_id, found


def shape_of(body: dict[str, Any], size_bytes: int) -> Shape:
    """size_bytes: of the line."""
    limit = next((body[name] for name in _LIMITS if isinstance(body.get(name), int)), DEFAULT_ANSWER)
    parts = _parts(body)
    common = (body.get("model"), body.get("tools"), body.get("instructions"))
    opening = parts[0] if len(parts) > 1 else _head(parts[0] if parts else "")
    return Shape(
        tokens=size_bytes // BYTES_PER_TOKEN + min(max(limit, 0), 1 << 30),
        root=_digest(common, opening),
        prefix=_digest(common, parts[:-1]),
    )


def _parts(body: dict[str, Any]) -> Sequence[Any]:
    """What the prompt is made of, in order."""
    for name in ("messages", "input", "prompt"):
        value = body.get(name)
        if value is not None:
            return value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
    return []


def _head(part: Any) -> Any:
    if isinstance(part, dict):
        return {**part, "content": _head(part.get("content"))}
    return part[:HEAD_CHARS] if isinstance(part, str | list) else part


def _digest(*what: Any) -> int:
    text = json.dumps(what, ensure_ascii=False, separators=(",", ":"), default=str)
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big", signed=True)
