"""What the main routes answer, for the OpenAPI document only, so that generated clients give typed answers.

    @router.post(…, response_model=None, responses=documented(ChatAnswer, stream=ChatChunk))

Nothing passes through these models at run time. tests/server/test_schema.py holds real answers against them, and `extra="forbid"`
makes a field that is written but not documented fail there.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Finish = Literal["stop", "length", "tool_calls"]


class Answer(BaseModel):
    """A field with a default may be absent; `| None` may be null."""

    model_config = ConfigDict(extra="forbid")


class ErrorDetail(Answer):
    """code is stable, see docs/errors.md; param names the field that is wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(Answer):
    error: ErrorDetail


class CachedTokens(Answer):
    cached_tokens: int


class TokenUsage(Answer):
    """prompt_tokens_details.cached_tokens: of prompt_tokens, those not computed again."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class PromptUsage(Answer):
    prompt_tokens: int
    total_tokens: int


class AnsweredFunction(Answer):
    name: str
    arguments: str


class AnsweredTool(Answer):
    id: str
    type: Literal["function"]
    function: AnsweredFunction


class StreamedTool(AnsweredTool):
    index: int


class TokenChance(Answer):
    token: str
    logprob: float
    bytes: list[int]


class TokenChances(TokenChance):
    top_logprobs: list[TokenChance]


class ChatLogprobs(Answer):
    content: list[TokenChances]
    refusal: None


class AnsweredMessage(Answer):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[AnsweredTool] = []


class ChatChoice(Answer):
    index: int
    message: AnsweredMessage
    logprobs: ChatLogprobs | None
    finish_reason: Finish


class Head(Answer):
    """model: the one that answered, also when an alias was asked for. system_fingerprint: its engine."""

    id: str
    created: int
    model: str
    system_fingerprint: str


class ChatHead(Head):
    service_tier: Literal["default"] = "default"
    metadata: dict[str, str] = {}


class ChatAnswer(ChatHead):
    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: TokenUsage


class ChatDelta(Answer):
    role: Literal["assistant"] = "assistant"
    content: str = ""
    tool_calls: list[StreamedTool] = []


class ChatChunkChoice(Answer):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: Finish | None


class ChatChunk(ChatHead):
    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: TokenUsage | None = None


class CompletionLogprobs(Answer):
    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(Answer):
    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Finish | None


class CompletionAnswer(Head):
    """A chunk of a stream has the same form; its usage is null or absent but in the last one."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
    usage: TokenUsage | None = None


class Embedding(Answer):
    """embedding: numbers, or with encoding_format "base64" little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(Answer):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: PromptUsage


class AnsweredDocument(Answer):
    text: str


class RankedDocument(Answer):
    index: int
    relevance_score: float
    document: AnsweredDocument | None = None


class RerankAnswer(Answer):
    """Best first."""

    id: str
    model: str
    results: list[RankedDocument]


class ModelEntry(Answer):
    """root: the model behind the name, with its version."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    max_model_len: int | None
    tasks: list[str]


class ModelList(Answer):
    object: Literal["list"]
    data: list[ModelEntry]


class AnsweredPrediction(Answer):
    """probabilities: of every label, best first. labels: with multi_label those at or over the threshold."""

    label: str
    probabilities: dict[str, float]
    strategy: str
    why: str
    model: str
    labels: list[str]


class PredictAnswer(Answer):
    model: str
    predictions: list[AnsweredPrediction]


class TextsAnswer(Answer):
    """One text for each input, in order."""

    model: str
    texts: list[str]


class AnthropicDetail(Answer):
    type: str
    message: str


class AnthropicError(Answer):
    type: Literal["error"]
    error: AnthropicDetail


class OllamaError(Answer):
    error: str


def errors(model: type[Answer]) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a router: what it answers when something is wrong, in its dialect (problems.py writes it)."""
    return {"default": {"model": model, "description": "What went wrong"}}


def documented(answer: type[Answer], *, stream: type[Answer] | None = None) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the answer, and with `stream` true its server-sent events, the last of which is [DONE]."""
    found: dict[str, Any] = {"model": answer, "description": "The answer"}
    if stream is not None:
        text = f"With `stream`: server-sent events, each with a {stream.__name__} as its data; the last is `[DONE]`."
        found["content"] = {"text/event-stream": {"schema": {"type": "string", "description": text}}}
    return {200: found}
