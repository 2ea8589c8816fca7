"""Items of a batch, answered in the shapes of the routes: the same models check the bodies, the same code writes the answers.

What differs from a request: nobody watches, so answers come whole; and there are many, so embeddings of several items are computed
in one call.
"""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from llmos.engine.base import Feature
from llmos.engine.batch.base import Item, Outcome
from llmos.engine.generation import Completion, Delta, Generation, completions_of
from llmos.engine.session import Session
from llmos.errors import InvalidValue, LLMOSError, did_you_mean
from llmos.infra.logs import get_logger
from llmos.server.messages import StrictTools, choice_of, records
from llmos.server.problems import body_of, from_validation
from llmos.server.response_events import ResponseWriter
from llmos.server.routes import chat, completions, embeddings, responses
from llmos.server.shapes import finish_of
from llmos.server.work import Group
from llmos.types import TokenIds, Usage

log = get_logger("server")
T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)
MAX_INPUTS = 64  # texts of several items that are embedded in one call
TOKENISERS = 2  # threads that read items while the engine computes


class Answers(ABC, Generic[B]):
    """The Answerer of one endpoint. session: of the model that the items ask for."""

    endpoint: str
    body: type[B]

    def __init__(self, session: Session, *, deadline_s: float) -> None:
        self.session, self.deadline_s = session, deadline_s
        self._threads = ThreadPoolExecutor(TOKENISERS, "llmos-items")

    @abstractmethod
    async def respond(self, body: B, warm: Callable[[], None] | None) -> Outcome:
        """The answer to a body that is well formed. Raises LLMOSError."""

    async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
        try:
            body = self.body.model_validate(item.body)
        except ValidationError as problem:
            raise from_validation(problem.errors()) from None
        if getattr(body, "stream", False):
            raise InvalidValue("stream is true; the answers of a batch come whole.", param="stream", hint="Leave it out.")
        return await self.respond(body, warm)

    def refusal(self, error: Exception) -> Outcome:
        if isinstance(error, LLMOSError):
            known = error
        else:
            log.error("an item of a batch failed", exc_info=error)
            known = LLMOSError("Something went wrong inside the server.", hint="Its log has more.")
        return Outcome(status=known.http_status, body=body_of(known, self.endpoint))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def aside(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def started(self, start: Callable[[], Sequence[Generation]]) -> Group:
        """The generations, cancelled when the item is given up while they are being started."""
        made = asyncio.ensure_future(self.aside(start))
        try:
            return Group(await asyncio.shield(made))
        except asyncio.CancelledError:
            made.add_done_callback(lambda done: None if done.cancelled() or done.exception() else Group(done.result()).cancel())
            raise


async def results(group: Group, warm: Callable[[], None] | None) -> list[list[Completion]]:
    """As Group.results; `warm` is called with the first text."""
    if warm is None:
        return await group.results()
    deltas: list[list[Delta]] = [[] for _ in group.generations]
    async for place, delta in group.deltas():
        warm()
        deltas[place].append(delta)
    return [completions_of(one) for one in deltas]


class ChatAnswers(Answers[chat.ChatBody]):
    endpoint = "/v1/chat/completions"
    body = chat.ChatBody

    async def respond(self, body: chat.ChatBody, warm: Callable[[], None] | None) -> Outcome:
        body.check()
        messages, sampling, tools = records(body.messages), body.to_sampling(), [tool.record() for tool in body.tools]
        group = await self.started(
            lambda: [
                self.session.chat(
                    messages,
                    sampling,
                    tools=tools,
                    tool_choice=choice_of(body.tool_choice) if body.tool_choice else "auto",
                    deadline_s=self.deadline_s,
                    extra=chat.reasoning(self.session, body.reasoning_effort) or None,
                    work="batch",
                    stream=warm is not None,
                )
            ]
        )
        [found] = await results(group, warm)
        content = chat.Answer(body, self.session, group, self.endpoint).content(found)
        return Outcome(status=200, body=content, usage=group.usage)


class CompletionAnswers(Answers[completions.CompletionBody]):
    endpoint = "/v1/completions"
    body = completions.CompletionBody

    async def respond(self, body: completions.CompletionBody, warm: Callable[[], None] | None) -> Outcome:
        body.check()
        prompts, sampling = body.prompts(), body.to_sampling()
        group, echoes = Group([]), [completions.Echo() for _ in prompts]
        if body.max_tokens > 0:

            def start(prompt: str | TokenIds) -> Generation:
                return self.session.complete(prompt, sampling, deadline_s=self.deadline_s, work="batch", stream=warm is not None)

            group = await self.started(lambda: [start(prompt) for prompt in prompts])
        if body.echo:
            echoes = await self.aside(lambda: completions.echoes_of(self.session, prompts, body.logprobs))
        found = await results(group, warm) if group.generations else []
        answer = completions.Answer(body, self.session, group, echoes, path=self.endpoint, request_id=f"req_{uuid.uuid4().hex}")
        return Outcome(status=200, body=answer.content(found), usage=answer.usage)


class ResponseAnswers(Answers[responses.ResponseBody]):
    endpoint = "/v1/responses"
    body = responses.ResponseBody

    async def respond(self, body: responses.ResponseBody, warm: Callable[[], None] | None) -> Outcome:
        body.check()
        messages, sampling, tools = body.records(), body.to_sampling(), [tool.record() for tool in body.tools]
        choice = body.tool_choice if isinstance(body.tool_choice, str) else body.tool_choice.name
        effort = body.reasoning.effort if body.reasoning else None
        group = await self.started(
            lambda: [
                self.session.chat(
                    messages,
                    sampling,
                    tools=tools,
                    tool_choice=choice,
                    deadline_s=self.deadline_s,
                    extra=chat.reasoning(self.session, effort) or None,
                    work="batch",
                    stream=warm is not None,
                )
            ]
        )
        [[found]] = await results(group, warm)
        finish_of(found.finish_reason)
        writer = ResponseWriter(
            asked=body.model_dump(mode="json", by_alias=True, exclude_unset=True),
            session=self.session,
            group=group,
            logprobs=body.logprobs,
            parallel=body.parallel_tool_calls,
            strict=StrictTools(body.tools),
        )
        return Outcome(status=200, body=writer.whole(found), usage=group.usage)


@dataclass(slots=True, eq=False)
class _Texts:
    """The inputs of one item, on their way to a call."""

    inputs: list[str | TokenIds]
    long: Literal["error", "mean"]
    done: asyncio.Future[tuple[Any, int]]


class EmbeddingAnswers(Answers[embeddings.EmbeddingBody]):
    endpoint = "/v1/embeddings"
    body = embeddings.EmbeddingBody

    def __init__(self, session: Session, *, deadline_s: float) -> None:
        super().__init__(session, deadline_s=deadline_s)
        self._waiting: list[_Texts] = []
        self._workers: set[asyncio.Task[None]] = set()

    async def respond(self, body: embeddings.EmbeddingBody, warm: Callable[[], None] | None) -> Outcome:
        if warm is not None:
            warm()  # nothing of an embedding is shared
        texts = _Texts(body.inputs(), body.long, asyncio.get_running_loop().create_future())
        self._waiting.append(texts)
        if len(self._workers) < TOKENISERS:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        vectors, num_tokens = await texts.done
        content = embeddings.content_of(body, self.session, vectors, num_tokens)
        return Outcome(status=200, body=content, usage=Usage(prompt_tokens=num_tokens))

    async def _work(self) -> None:
        await asyncio.sleep(0)  # what comes together is computed together
        while self._waiting:
            group = self._next()
            try:
                await self._embed(group)
            except Exception as error:  # noqa: BLE001 - goes to the items it belongs to
                if len(group) == 1:
                    _fail(group[0], error)
                    continue
                for one in group:  # which of them it is
                    try:
                        await self._embed([one])
                    except Exception as own:  # noqa: BLE001
                        _fail(one, own)

    def _next(self) -> list[_Texts]:
        """The first that wait, of one kind and few enough for one call."""
        group = [self._waiting.pop(0)]
        while self._waiting and self._waiting[0].long == group[0].long:
            if sum(len(one.inputs) for one in group) + len(self._waiting[0].inputs) > MAX_INPUTS:
                break
            group.append(self._waiting.pop(0))
        return group

    async def _embed(self, group: list[_Texts]) -> None:
        session = self.session

        def compute() -> tuple[Any, list[int]]:
            inputs = [text for one in group for text in one.inputs]
            if session.tokenizer is not None and group[0].long == "error":
                inputs = [session.encode(one, add_special=True) if isinstance(one, str) else one for one in inputs]
            counts = embeddings.counts_of(session, inputs)
            return session.embed(inputs, long=group[0].long), counts

        vectors, counts = await self.aside(compute)
        end = 0
        for one in group:
            begin, end = end, end + len(one.inputs)
            if not one.done.done():
                one.done.set_result((vectors[begin:end], sum(counts[begin:end])))


def _fail(texts: _Texts, error: Exception) -> None:
    if not texts.done.done():
        texts.done.set_exception(error)


ENDPOINTS: dict[str, type[Answers[Any]]] = {
    one.endpoint: one for one in (ChatAnswers, CompletionAnswers, EmbeddingAnswers, ResponseAnswers)
}


def answers_for(endpoint: str, session: Session, *, deadline_s: float) -> Answers[Any]:
    """Raises InvalidValue for an endpoint that is not served in batches."""
    return ENDPOINTS[check_endpoint(endpoint)](session, deadline_s=deadline_s)


def check_endpoint(endpoint: str) -> str:
    if endpoint not in ENDPOINTS:
        raise InvalidValue(
            f"Batches for {endpoint[:64]!r} are not served.", param="endpoint", hint=did_you_mean(endpoint, [*ENDPOINTS])
        )
    return endpoint


def feature_of(endpoint: str) -> Feature:
    """What the engine of such a batch must do."""
    return Feature.EMBED if endpoint == EmbeddingAnswers.endpoint else Feature.GENERATE
