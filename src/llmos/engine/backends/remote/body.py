"""A request in the JSON of the OpenAI API (chat/completions with messages, completions with text). Pure.

What that API has no word for is refused by name: an endpoint may ignore fields it does not know, and then an option would be lost
without a sign.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from llmos.engine.base import Request
from llmos.errors import UnsupportedFeature
from llmos.types import Message, Sampling

MAX_STOP = 4  # of the OpenAI API; more are left to engine/session.py, which looks for all of them anyway


def build(request: Request, model: str, base_url: str) -> tuple[str, dict[str, Any]]:
    """(path below the base URL, body). Raises UnsupportedFeature naming the field."""
    sampling = request.sampling
    _refuse(request)
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature,
    }
    optional = {
        "top_p": None if sampling.top_p == 1 else sampling.top_p,
        "n": None if sampling.n == 1 else sampling.n,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty or None,
        "frequency_penalty": sampling.frequency_penalty or None,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
        "stop": list(sampling.stop) if 0 < len(sampling.stop) <= MAX_STOP else None,
        _length_field(request, base_url): sampling.max_tokens,
        **(_of_chat(request) if request.messages else _of_completion(request)),
    }
    body |= {name: value for name, value in optional.items() if value is not None}
    return ("/chat/completions" if request.messages else "/completions"), body


def _refuse(request: Request) -> None:
    sampling = request.sampling
    foreign = {
        "top_k": sampling.top_k != 0,
        "min_p": sampling.min_p != 0,
        "repetition_penalty": sampling.repetition_penalty != 1,
        "ignore_eos": sampling.ignore_eos,
        "num_beams": sampling.num_beams > 1,
        "adapter": request.adapter is not None,
        "response_format": sampling.constraint is not None
        and (sampling.constraint.kind not in ("json_object", "json_schema") or not request.messages),
    }
    for name, used in foreign.items():
        if used:
            raise UnsupportedFeature(
                f"A remote model cannot be asked for {name}: the OpenAI API has no word for it here.",
                param=name,
                hint=f"Leave {name} out, or use a local model.",
            )


def _length_field(request: Request, base_url: str) -> str:
    """OpenAI's own chat API refuses `max_tokens` for its newer models; most other endpoints know only that."""
    host = urlsplit(base_url).hostname or ""
    return "max_completion_tokens" if request.messages and host.endswith("openai.com") else "max_tokens"


def _of_completion(request: Request) -> dict[str, Any]:
    return {"prompt": request.text or "", "logprobs": request.sampling.logprobs}


def _of_chat(request: Request) -> dict[str, Any]:
    return {
        "messages": [_message(message) for message in request.messages],
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice) if request.tools else None,
        "logprobs": None if request.sampling.logprobs is None else True,
        "top_logprobs": request.sampling.logprobs or None,
        "response_format": _response_format(request.sampling),
    }


def _message(message: Message) -> dict[str, Any]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    optional = {"name": message.name, "tool_calls": calls or None, "tool_call_id": message.tool_call_id}
    return {"role": message.role, "content": message.content, **{k: v for k, v in optional.items() if v is not None}}


def _tool(tool: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters}}


def _tool_choice(choice: str) -> Any:
    return choice if choice in ("auto", "none", "required") else {"type": "function", "function": {"name": choice}}


def _response_format(sampling: Sampling) -> dict[str, Any] | None:
    if sampling.constraint is None:
        return None
    if sampling.constraint.kind == "json_object":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": sampling.constraint.value, "strict": True}}
