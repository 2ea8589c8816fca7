"""POST /v1/completions: continuing texts or token ids, with `echo` and `logprobs` as evaluation tools need them.

The log-probabilities of an echoed prompt come from `Session.score`, all prompts of a request in one call, so that what they
share is computed once.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.base import ScoreItem
from llmos.engine.choice import Work
from llmos.engine.generation import Completion, Delta, Generation
from llmos.engine.session import Session
from llmos.errors import InvalidValue, LLMOSError
from llmos.server import problems
from llmos.server.answers import CompletionAnswer, documented
from llmos.server.sampling import MAX_N, MAX_TOP_LOGPROBS, ResponseFormat, SamplingBody, StreamOptions
from llmos.server.scopes import ScopedRouter
from llmos.server.shapes import DONE, completion_logprobs, event, finish_of, usage_of
from llmos.server.work import (
    EventStream,
    Group,
    admitted,
    blocking,
    note_user,
    session_for,
    started,
    state_of,
    submit,
    told_of,
    watched,
)
from llmos.types import Sampling, TokenIds, TokenLogprob, Usage

router = ScopedRouter(Scope.INFERENCE, tags=["OpenAI"])
MAX_PROMPTS = 256
Ids = Annotated[list[Annotated[int, Field(ge=0, strict=True)]], Field(min_length=1)]


class CompletionBody(SamplingBody):
    """Every documented field of the OpenAI API is here or in `refused`."""

    refused: ClassVar[dict[str, str]] = {"suffix": "no model here was trained to fill in the middle"}
    model: str = Field(min_length=1, max_length=2048)
    prompt: str | Ids | Annotated[list[str], Field(max_length=MAX_PROMPTS)] | Annotated[list[Ids], Field(max_length=MAX_PROMPTS)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int = Field(16, ge=0)
    best_of: int | None = Field(None, ge=1, le=MAX_N)
    echo: bool = False
    logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    user: str | None = Field(None, max_length=512)
    response_format: ResponseFormat | None = None

    def prompts(self) -> list[str | TokenIds]:
        """One entry a prompt, whatever of the four forms it came in."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if not self.prompt:
            raise InvalidValue("prompt is an empty list.", param="prompt")
        if isinstance(self.prompt[0], int):
            return [tuple(item for item in self.prompt if isinstance(item, int))]
        return [item if isinstance(item, str) else tuple(item) for item in self.prompt if not isinstance(item, int)]

    def check(self) -> None:
        if self.best_of is not None and self.best_of < self.n:
            raise InvalidValue(f"best_of is {self.best_of} and n is {self.n}; best_of must be at least n.", param="best_of")
        if self.best_of is not None and self.best_of > self.n and self.stream:
            raise InvalidValue("best_of cannot be streamed: the best is known only at the end.", param="best_of")
        if self.stream_options is not None and not self.stream:
            raise InvalidValue("stream_options needs stream to be true.", param="stream_options")
        if self.max_tokens == 0 and not self.echo:
            raise InvalidValue("max_tokens is 0 and echo is false: there is nothing to answer.", param="max_tokens")

    def to_sampling(self) -> Sampling:
        best_of = self.best_of or self.n
        constraint = self.response_format.constraint() if self.response_format else None
        sampling = self.sampling(max_tokens=max(self.max_tokens, 1), logprobs=self.logprobs, constraint=constraint, n=best_of)
        return replace(sampling, logprobs=0) if best_of > self.n and self.logprobs is None else sampling


@dataclass(frozen=True, slots=True)
class Echo:
    """What stands before an answer when the prompt is echoed: its text, its ids, and with logprobs one entry a token."""

    text: str = ""
    ids: TokenIds = ()
    entries: tuple[TokenLogprob | None, ...] = ()


@router.post(
    "/v1/completions",
    response_model=None,
    responses=documented(CompletionAnswer, stream=CompletionAnswer),
    summary="Continue texts or token ids",
)
async def completions(body: CompletionBody, request: Request) -> Response:
    body.check()
    note_user(request, body.user)
    prompts, sampling = body.prompts(), body.to_sampling()
    await admitted(request)
    session = await session_for(request, body.model)
    deadline_s = state_of(request).settings.request_deadline_s
    group = Group([])
    if body.max_tokens > 0:
        work: Work = "batch" if len(prompts) * sampling.n > 1 else "mixed"

        def start(prompt: str | TokenIds) -> Generation:
            return session.complete(prompt, sampling, deadline_s=deadline_s, work=work, stream=body.stream)

        group = await submit(request, lambda: [start(prompt) for prompt in prompts])
    echoes = [Echo() for _ in prompts]
    if body.echo:
        scored = blocking(lambda: echoes_of(session, prompts, body.logprobs))
        echoes = await watched(request.receive, group.cancel, scored)
    answer = Answer(body, session, group, echoes, path=request.url.path, request_id=request.state.request_id)
    if body.stream:
        deltas = await started(request, group)
        return EventStream(answer.events(deltas), group.cancel, told_of(session, group))
    return await answer.whole(request)


def echoes_of(session: Session, prompts: Sequence[str | TokenIds], logprobs: int | None) -> list[Echo]:
    ids = [session.encode(prompt, add_special=True) if isinstance(prompt, str) else prompt for prompt in prompts]
    texts = [prompt if isinstance(prompt, str) else session.decode(prompt, skip_special=False) for prompt in prompts]
    if logprobs is None:
        return [Echo(text, one) for text, one in zip(texts, ids, strict=True)]
    items = [ScoreItem(prompt=one[:1], continuations=(one[1:],)) for one in ids if len(one) > 1]
    scored = iter(session.score(items, top=logprobs) if items else [])
    entries = [(None, *(next(scored).continuations[0] if len(one) > 1 else ())) for one in ids]
    return [Echo(text, one, tuple(found[: len(one)])) for text, one, found in zip(texts, ids, entries, strict=True)]


class Answer:
    """Writes the choices of all prompts, whole or as events. Choice prompt * n + answer."""

    def __init__(
        self, body: CompletionBody, session: Session, group: Group, echoes: Sequence[Echo], *, path: str, request_id: str
    ) -> None:
        self.body, self.session, self.group, self.echoes = body, session, group, echoes
        self.path, self.request_id = path, request_id
        self.offsets: dict[int, int] = {}  # choice -> length of the text so far, for text_offset

    def head(self) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.request_id}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": self.session.card.name,
            "system_fingerprint": self.group.engine or "score",
        }

    @property
    def usage(self) -> Usage:
        if self.group.generations:
            return self.group.usage
        return Usage(prompt_tokens=sum(len(echo.ids) for echo in self.echoes))

    def choice(self, place: int, index: int, text: str, ids: TokenIds, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
        """`text` with its tokens, after the echo when the choice opens with it."""
        number = place * self.body.n + index
        opens = self.body.echo and number not in self.offsets
        echo = self.echoes[place] if opens else Echo()
        logprobs = None
        if self.body.logprobs is not None:
            start = self.offsets.get(number, 0)
            both = (*echo.entries, *entries)
            logprobs = completion_logprobs(both, (*echo.ids, *ids), self.session.tokenizer, offset=start)
        self.offsets[number] = self.offsets.get(number, 0) + len(echo.text) + len(text)
        return {"index": number, "text": echo.text + text, "logprobs": logprobs, "finish_reason": None}

    async def whole(self, request: Request) -> Response:
        results = await watched(request.receive, self.group.cancel, self.group.results())
        return JSONResponse(self.content(results), headers=told_of(self.session, self.group))

    def content(self, results: Sequence[list[Completion]]) -> dict[str, Any]:
        """results: of each prompt; none at all when nothing was to be written."""
        choices = []
        for place in range(len(self.echoes)):
            if not results:
                choices += self._echoed(place)
                continue
            for index, found in enumerate(self._best(results[place])):
                choice = self.choice(place, index, found.text, found.token_ids, found.logprobs)
                choices.append({**choice, "finish_reason": finish_of(found.finish_reason)})
        return {**self.head(), "choices": choices, "usage": usage_of(self.usage)}

    def _echoed(self, place: int) -> list[dict[str, Any]]:
        """The choices of a prompt with max_tokens=0: the prompt itself."""
        return [{**self.choice(place, index, "", (), ()), "finish_reason": "length"} for index in range(self.body.n)]

    def _best(self, found: list[Completion]) -> list[Completion]:
        """With best_of the n of highest mean log-probability a token, best first."""
        if self.body.best_of is None or self.body.best_of == self.body.n:
            return found
        mean = {one.index: sum(entry.logprob for entry in one.logprobs) / max(len(one.logprobs), 1) for one in found}
        return sorted(found, key=lambda one: -mean[one.index])[: self.body.n]

    async def events(self, deltas: AsyncIterator[tuple[int, Delta]]) -> AsyncIterator[bytes]:
        head = self.head()
        with_usage = bool(self.body.stream_options and self.body.stream_options.include_usage)
        extra = {"usage": None} if with_usage else {}
        try:
            if not self.group.generations:
                for place in range(len(self.echoes)):
                    yield event({**head, "choices": self._echoed(place), **extra})
            async for place, delta in deltas:
                choice = self.choice(place, delta.index, delta.text, delta.token_ids, delta.logprobs)
                yield event({**head, "choices": [{**choice, "finish_reason": finish_of(delta.finish_reason)}], **extra})
        except LLMOSError as error:
            yield event(problems.body_of(error, self.path))
        else:
            if with_usage:
                yield event({**head, "choices": [], "usage": usage_of(self.usage)})
            yield DONE
