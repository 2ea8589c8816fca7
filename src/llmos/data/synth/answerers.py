"""Who answers the questions of data steps: a model that writes, one question a request; or one that reads, many in one call.

What is the question's own fault (too long for the context, an engine that dies of it) is a refusal with its reason. Everything else ends
the run: a full machine or a lost connection must not decide which rows a data set has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from llmos.data.synth.asked import Question
from llmos.engine.asking import start
from llmos.engine.base import Feature
from llmos.engine.batch.base import WINDOW, Item, Outcome
from llmos.engine.generation import Completion, completions_of
from llmos.engine.needs import needed_features
from llmos.engine.session import Session
from llmos.errors import ContextLengthExceeded, EngineError, InvalidValue, UnsupportedFeature
from llmos.types import Constraint, Sampling, Usage

MAX_GROUP = 32  # texts in one call of a reading model
_OWN_FAULT = (ContextLengthExceeded, InvalidValue, EngineError)

Read = Callable[[Session, Sequence[Question]], Sequence[dict[str, Any]]]
"""Answers to several questions in one call."""


def refusal_of(error: Exception) -> Outcome:
    """Raises the error when it is not the question's own."""
    if not isinstance(error, _OWN_FAULT):
        raise error
    return Outcome(status=error.http_status, body={"refused": error.message})


def question(prompt: str, sampling: Sampling, schema: dict[str, Any] | None = None) -> Question:
    """For a Writing. schema: of the JSON that the answer shall be."""
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "seed": sampling.seed}
    return {
        "prompt": prompt,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop),
        **({} if sampling.temperature == 0 else drawn),
        **({"schema": schema} if schema else {}),
    }


def sampling_of(body: Question) -> Sampling:
    return Sampling(
        max_tokens=body["max_tokens"],
        temperature=body.get("temperature", 0.0),
        top_p=body.get("top_p", 1.0),
        seed=body.get("seed"),
        stop=tuple(body["stop"]),
        constraint=Constraint(kind="json_schema", value=body["schema"]) if "schema" in body else None,
    )


class Writing:
    """Answers with {"text", "finish_reason"}; instruct models in a chat, others by completion."""

    window = WINDOW
    how = "write 1"  # the number grows when the same question is put otherwise

    def __init__(self, session: Session, like: Question) -> None:
        """like: one of the questions, for the choice of the engine."""
        self.session = session
        self._features = needed_features(sampling_of(like), adapter=session.adapter is not None)

    @property
    def shared(self) -> bool:
        return Feature.PREFIX_CACHE in self.session.engine_for(self._features, "batch").features

    async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
        sampling, watch = sampling_of(item.body), warm is not None
        generation = await asyncio.to_thread(start, self.session, item.body["prompt"], sampling, work="batch", stream=watch)
        if warm is None:
            found = await generation.aresult()
        else:
            found = await _watched(generation, warm)
        answer = {"text": found[0].text, "finish_reason": found[0].finish_reason}
        return Outcome(status=200, body=answer, usage=generation.usage)

    def refusal(self, error: Exception) -> Outcome:
        return refusal_of(error)


async def _watched(generation: Any, warm: Callable[[], None]) -> list[Completion]:
    deltas = []
    async for delta in generation:
        warm()
        deltas.append(delta)
    return completions_of(deltas)


def can_keep_to_schema(session: Session, like: Question) -> bool:
    """Whether an engine of this model can be held to the JSON schema of such a question."""
    try:
        session.engine_for(needed_features(sampling_of(like), adapter=session.adapter is not None), "batch")
    except UnsupportedFeature:
        return False
    return True


class Reading:
    """Answers by `read`, which sees all questions that wait at the time, MAX_GROUP at most. When it fails on a group they are read one by
    one, and the error is that of the one."""

    shared = False
    window = 2 * MAX_GROUP  # one group is read while the next one gathers

    def __init__(self, session: Session, read: Read) -> None:
        self.session, self.read = session, read
        self._waiting: list[tuple[Question, asyncio.Future[dict[str, Any]]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def answer(self, item: Item, warm: Callable[[], None] | None) -> Outcome:
        if warm is not None:
            warm()  # the others come into the same call
        done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((item.body, done))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return Outcome(status=200, body=await done, usage=Usage())

    def refusal(self, error: Exception) -> Outcome:
        return refusal_of(error)

    async def _work(self) -> None:
        await asyncio.sleep(0)  # what comes together is read together
        while self._waiting:
            group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
            try:
                await self._read(group)
            except Exception as problem:  # noqa: BLE001 - goes to the questions it belongs to
                for one in group:
                    await self._alone(one, problem if len(group) == 1 else None)

    async def _alone(self, one: tuple[Question, asyncio.Future[dict[str, Any]]], known: Exception | None) -> None:
        try:
            if known is not None:
                raise known
            await self._read([one])
        except Exception as problem:  # noqa: BLE001
            if not one[1].done():
                one[1].set_exception(problem)

    async def _read(self, group: Sequence[tuple[Question, asyncio.Future[dict[str, Any]]]]) -> None:
        found = await asyncio.to_thread(self.read, self.session, [body for body, _ in group])
        for (_, done), answer in zip(group, found, strict=True):
            if not done.done():
                done.set_result(answer)
