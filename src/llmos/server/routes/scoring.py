"""Typed decisions, without writing a word: POST /v1/score and POST /v1/systemone.

/v1/score gives log-probabilities of continuations (or, in SGLang's form, of single tokens after each item). /v1/systemone asks
typed questions (noul, choice, score) about a state and answers with a probability for every allowed answer, in the shape of
TypeSafe's Jev API that vLLM, SGLang, llama.cpp and transformers serve too. Here any model family answers, through `predict`.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from llmos.access.base import Scope
from llmos.engine.base import ScoreItem
from llmos.engine.session import Session
from llmos.errors import InvalidValue
from llmos.server.fields import Body
from llmos.server.scopes import ScopedRouter
from llmos.server.shapes import finite
from llmos.server.work import admitted, blocking, session_for, state_of, told_of
from llmos.types import Prediction

router = ScopedRouter(Scope.INFERENCE, tags=["Decisions"])
MAX_ITEMS = 1024


class ScoreBody(Body):
    """prompt + continuations, or query + items + label_token_ids (SGLang): P(label token | query, item)."""

    model: str = Field(min_length=1, max_length=2048)
    prompt: str | None = None
    continuations: list[str] | None = Field(None, min_length=1, max_length=MAX_ITEMS)
    top_logprobs: int = Field(0, ge=0, le=20)
    query: str | None = None
    items: list[str] | None = Field(None, min_length=1, max_length=MAX_ITEMS)
    label_token_ids: list[int] | None = Field(None, min_length=1, max_length=256)
    apply_softmax: bool = False
    item_first: bool = False


@router.post("/v1/score", response_model=None, summary="Log-probabilities of given continuations")
async def score(body: ScoreBody, request: Request) -> Response:
    own = (body.prompt, body.continuations)
    pairs = (body.query, body.items, body.label_token_ids)
    if (None in own) == (None in pairs) or any(value is not None for value in (pairs if None not in own else own)):
        raise InvalidValue("Give prompt and continuations, or query, items and label_token_ids.", param="prompt")
    await admitted(request)
    session = await session_for(request, body.model)
    work = (lambda: _continuations(session, body)) if body.prompt is not None else (lambda: _items(session, body))
    content, num_tokens = await blocking(work)
    head = {"object": "list", "model": session.card.name}
    return JSONResponse(
        {**head, **content, "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens}}, headers=told_of(session)
    )


def _continuations(session: Session, body: ScoreBody) -> tuple[dict[str, Any], int]:
    assert body.prompt is not None
    prompt = session.encode(body.prompt, add_special=True)
    ids = tuple(session.encode(text) for text in body.continuations or ())
    if any(not one for one in ids):
        raise InvalidValue("A continuation is empty.", param="continuations")
    result = session.score([ScoreItem(prompt=prompt, continuations=ids)], top=body.top_logprobs)[0]
    data = [
        {
            "index": place,
            "logprob": finite(sum(entry.logprob for entry in entries)),
            "num_tokens": len(entries),
            "tokens": [
                {
                    "id": entry.token_id,
                    "logprob": finite(entry.logprob),
                    **(
                        {"top": [{"id": token, "logprob": finite(value)} for token, value in entry.top]}
                        if body.top_logprobs
                        else {}
                    ),
                }
                for entry in entries
            ],
        }
        for place, entries in enumerate(result.continuations)
    ]
    return {"data": data}, len(prompt) + sum(map(len, ids))


def _items(session: Session, body: ScoreBody) -> tuple[dict[str, Any], int]:
    assert body.query is not None and body.items is not None and body.label_token_ids is not None
    texts = [item + body.query if body.item_first else body.query + item for item in body.items]
    prompts = [session.encode(text, add_special=True) for text in texts]
    labels = tuple((token,) for token in body.label_token_ids)
    results = session.score([ScoreItem(prompt=prompt, continuations=labels) for prompt in prompts])
    scores = []
    for result in results:
        values = [math.exp(entries[0].logprob) for entries in result.continuations]
        scores.append([value / sum(values) for value in values] if body.apply_softmax else values)
    return {"scores": scores}, sum(map(len, prompts))


Content = str | dict[str, Any] | list[Any]


class Noul(Body):
    """Is it true? criteria: what true and false mean."""

    type: Literal["noul"]
    instructions: Content
    criteria: dict[Literal["true", "false"], Content] = Field(default_factory=dict)

    def options(self) -> dict[str, str]:
        return {name: text_of(self.criteria.get(name, name)) for name in ("true", "false")}

    def answer(self, found: dict[str, float]) -> dict[str, Any]:
        return {"type": "noul", "noul": found["true"]}


class Choice(Body):
    """Which option fits? criteria: option -> description, or null for none."""

    type: Literal["choice"]
    instructions: Content
    criteria: dict[str, Content | None] = Field(min_length=2, max_length=255)

    def options(self) -> dict[str, str]:
        return {name: name if description is None else text_of(description) for name, description in self.criteria.items()}

    def answer(self, found: dict[str, float]) -> dict[str, Any]:
        best, uniform = max(found, key=found.__getitem__), 1 / len(found)
        confidence = max(0.0, (found[best] - uniform) / (1 - uniform))
        return {"type": "choice", "choice": best, "confidence": confidence, "probabilities": found}


class Score(Body):
    """How much? criteria: the levels from lowest to highest. The answer is the expected level, counted from 0."""

    type: Literal["score"]
    instructions: Content
    criteria: list[Content] = Field(min_length=2, max_length=10)

    def options(self) -> dict[str, str]:
        return {str(level): text_of(text) for level, text in enumerate(self.criteria)}

    def answer(self, found: dict[str, float]) -> dict[str, Any]:
        """confidence: 1 less the mean distance from the likeliest level, relative to that of a flat distribution."""
        best, num = int(max(found, key=found.__getitem__)), len(found)
        distance = sum(share * abs(int(level) - best) for level, share in found.items())
        flat = sum(abs(level - (num - 1) / 2) for level in range(num)) / num
        return {
            "type": "score",
            "score": sum(int(level) * share for level, share in found.items()),
            "legend": self.options(),
            "confidence": max(0.0, 1 - distance / flat),
            "probabilities": found,
        }


class SystemOneBody(Body):
    refused: ClassVar[dict[str, str]] = {"assets": "no model here reads images"}
    model: str | None = Field(None, max_length=2048)
    state: Content
    questions: dict[str, Annotated[Noul | Choice | Score, Field(discriminator="type")]] = Field(min_length=1, max_length=64)


def text_of(content: Content) -> str:
    """A text as it is; structured data as JSON with stable order."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


@router.post("/v1/systemone", response_model=None, summary="Typed questions about a state, answered with probabilities")
async def systemone(body: SystemOneBody, request: Request) -> Response:
    await admitted(request)
    session = await session_for(request, body.model or state_of(request).settings.default_model)
    answers = await blocking(lambda: {name: _ask(session, body.state, question) for name, question in body.questions.items()})
    num_tokens = 0
    if session.tokenizer is not None:
        asked = [text_of(body.state), *(text_of(question.instructions) for question in body.questions.values())]
        num_tokens = await blocking(lambda: sum(session.count_tokens(text) for text in asked))
    usage = {"input_tokens": num_tokens, "output_tokens": 0}
    return JSONResponse({"model": session.card.name, "answers": answers, "usage": usage}, headers=told_of(session))


def _ask(session: Session, state: Content, question: Noul | Choice | Score) -> dict[str, Any]:
    from llmos.engine import scoring

    options = question.options()
    found = scoring.predict(session, f"{text_of(state)}\n\n{text_of(question.instructions)}", options)
    assert isinstance(found, Prediction)
    return question.answer({name: found.probabilities[name] for name in options})
