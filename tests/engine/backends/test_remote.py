"""The remote engine against a real HTTP endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmos.engine.backends.remote import body
from llmos.engine.backends.remote.backend import FEATURES, RemoteBackend
from llmos.engine.backends.remote.engine import RemoteEngine
from llmos.engine.backends.remote.events import Events
from llmos.engine.base import Adapter, Chunk, LoadOptions, Request, Variant
from llmos.engine.session import FixedEngine, Session
from llmos.errors import EngineError, InvalidValue, LLMOSError, NotFound, OverCapacity, RateLimited, SourceError, UnsupportedFeature
from llmos.library.cards import remote_card
from llmos.settings import Settings
from llmos.types import Constraint, Family, Message, Sampling, Tool, ToolCall, Usage
from tests.engine.backends import tiny
from tests.engine.backends.endpoint import KEY, Endpoint, running

Make = Callable[..., RemoteEngine]
BAD_CALL = (
    'data: {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "[1"}}]},'
    ' "finish_reason": "stop"}]}'
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with running() as server:
        yield server


@pytest.fixture
def make(endpoint: Endpoint, tmp_path: Path) -> Iterator[Make]:
    """make(model) -> an engine whose settings name this endpoint."""
    made: list[RemoteEngine] = []

    def engine(model: str, max_running: int = 4, **changes: Any) -> RemoteEngine:
        environ = {"LLMOS_HOME": str(tmp_path), "OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": KEY}
        settings = Settings.from_env(environ, **changes)
        made.append(RemoteEngine(remote_card(model, endpoint.base_url), settings, features=FEATURES, max_running=max_running))
        return made[-1]

    yield engine
    for one in made:
        one.close()


def ask(
    text: str = "one two three", *, chat: bool = True, tools: tuple[Tool, ...] = (), tool_choice: str = "auto", **fields: Any
) -> Request:
    said = (Message(role="system", content="be brief"), Message(role="user", content=text)) if chat else ()
    return Request(
        id="r",
        prompt=(),
        sampling=Sampling(**fields),
        messages=said,
        text=None if chat else text,
        tools=tools,
        tool_choice=tool_choice,
    )


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text or "" for chunk in chunks)


@pytest.mark.parametrize("chat", [True, False])
def test_text_streams_and_usage_comes_with_the_last_chunk(make: Make, endpoint: Endpoint, chat: bool) -> None:
    chunks = list(make("words").submit(ask(chat=chat, max_tokens=9)))
    assert text_of(chunks) == "one two three "
    assert len(chunks) == 4
    assert chunks[-1].finish_reason == "stop"
    assert chunks[-1].usage == Usage(prompt_tokens=7, completion_tokens=3, cached_tokens=4)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert endpoint.bodies[-1]["max_tokens"] == 9
    assert endpoint.keys[-1] == f"Bearer {KEY}"


async def test_the_stream_can_be_awaited(make: Make) -> None:
    assert text_of([chunk async for chunk in make("words").submit(ask())]) == "one two three "


def test_the_key_goes_to_its_own_endpoint_only(make: Make, endpoint: Endpoint) -> None:
    engine = make("words", openai_base_url="https://api.example.com/v1", allow_private_network=True)
    assert text_of(list(engine.submit(ask()))) == "one two three "
    assert endpoint.keys[-1] == ""  # reached, because the private network is allowed, but not given another's key
    with running() as other:
        settings = Settings.from_env({"OPENAI_BASE_URL": endpoint.base_url, "OPENAI_API_KEY": KEY})
        stranger = RemoteEngine(remote_card("words", other.base_url), settings, features=FEATURES, max_running=1)
        with pytest.raises(LLMOSError):  # a private address that nobody configured
            list(stranger.submit(ask()))
        assert other.bodies == []
        stranger.close()


@pytest.mark.parametrize("chat", [True, False])
def test_logprobs_carry_texts_because_ids_are_not_known(make: Make, chat: bool) -> None:
    chunks = list(make("words").submit(ask(chat=chat, logprobs=2)))
    entry = chunks[0].logprobs[0]
    assert chunks[0].token_ids == (-1,)
    assert (entry.token_id, entry.logprob, entry.texts) == (-1, -0.5, ("one ", "one ", "maybe"))
    assert entry.top == ((-1, -0.5), (-1, -3.0))


def test_several_answers_are_told_apart(make: Make) -> None:
    answers = tiny.collect(make("words").submit(ask(n=3)))
    assert {index: text_of(chunks) for index, chunks in answers.items()} == dict.fromkeys(range(3), "one two three ")
    assert [answers[index][-1].finish_reason for index in range(3)] == ["stop"] * 3


def test_tool_calls_are_put_together(make: Make, endpoint: Endpoint) -> None:
    tool = Tool(name="weather", description="of a city", parameters={"type": "object"})
    chunks = list(make("tools").submit(ask(tools=(tool,), tool_choice="weather")))
    assert chunks[-1].finish_reason == "tool_calls"
    assert chunks[-1].tool_calls == (
        ToolCall(id="call_a", name="weather", arguments='{"city": "Paris"}'),
        ToolCall(id="call_b", name="time", arguments="{}"),
    )
    sent = endpoint.bodies[-1]
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": {"type": "object"}}}
    ]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_a_cancel_ends_the_answer_and_the_connection(make: Make, endpoint: Endpoint) -> None:
    endpoint.gone.clear()
    engine = make("endless")
    handle = engine.submit(ask())
    chunks = iter(handle)
    assert next(chunks).text == "one "
    handle.cancel()
    assert [chunk.finish_reason for chunk in chunks][-1] == "cancelled"
    assert endpoint.gone.wait(30)


def test_a_cancel_does_not_wait_for_a_silent_endpoint(make: Make, endpoint: Endpoint) -> None:
    endpoint.release.clear()
    engine = make("silent")
    handle = engine.submit(ask(n=2))
    handle.cancel()
    assert [(chunk.index, chunk.finish_reason) for chunk in handle] == [(0, "cancelled"), (1, "cancelled")]
    endpoint.release.set()


def test_closing_cancels_what_runs_and_refuses_what_comes(make: Make) -> None:
    engine = make("endless")
    handle = engine.submit(ask())
    chunks = iter(handle)
    next(chunks)
    engine.close()
    assert [chunk.finish_reason for chunk in chunks][-1] == "cancelled"
    with pytest.raises(EngineError, match="closed"):
        list(engine.submit(ask()))


def test_more_requests_than_allowed_are_refused(make: Make) -> None:
    engine = make("endless", max_running=1)
    handle = engine.submit(ask())
    next(iter(handle))
    assert engine.running() == 1
    with pytest.raises(OverCapacity):
        list(engine.submit(ask()))
    handle.cancel()


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        ("broken", SourceError, "before answer 0 was finished"),
        ("fails", EngineError, "out of memory over there"),
        ("filtered", EngineError, "content_filter"),
        ("status-400", InvalidValue, "as asked"),
        ("status-401", SourceError, "OPENAI_API_KEY"),
        ("status-404", NotFound, "chat instead of a completion"),
        ("status-500", SourceError, "500"),
    ],
)
def test_failures_say_what_happened(make: Make, model: str, error: type[LLMOSError], said: str) -> None:
    with pytest.raises(error, match=said):
        list(make(model).submit(ask()))


def test_a_used_up_quota_is_named_so() -> None:
    from llmos.engine.backends.remote.engine import _translated
    from llmos.errors import SourceStatus

    error = _translated(SourceStatus("too many", status=429, retry_after_s=7), "m")
    assert isinstance(error, RateLimited) and error.retry_after_s == 7


def test_embeddings_come_in_the_order_of_the_texts(make: Make) -> None:
    engine = make("words")
    assert np.array_equal(engine.embed_texts(["a", "bcd"]), np.array([[1, 1], [3, 1]], np.float32))
    assert engine.embed_texts([]).shape[0] == 0
    with pytest.raises(InvalidValue):
        make("status-400").embed_texts(["a"])


def test_a_session_embeds_by_the_endpoint_and_passes_its_error_on(make: Make) -> None:
    def session(engine: RemoteEngine) -> Session:
        return Session(card=engine.card, engines=FixedEngine(engine), tokenizer=None)

    vectors = session(make("m")).embed(["a", "bcd"])
    assert np.array_equal(vectors, np.array([[1, 1], [3, 1]], np.float32))
    with pytest.raises(InvalidValue, match="400"):
        session(make("status-400")).embed(["a"])
    with pytest.raises(UnsupportedFeature, match="takes text, not token ids"):
        session(make("m")).embed([(1, 2)])
    with pytest.raises(UnsupportedFeature, match=r"tokens .* are not known"):
        session(make("m")).embed(["a"], long="mean")


def test_every_option_is_sent_or_refused() -> None:
    sampling = Sampling(
        max_tokens=5,
        temperature=0.3,
        top_p=0.9,
        seed=4,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={8: -1.0},
        logprobs=0,
        n=2,
        stop=("x",),
        constraint=Constraint(kind="json_schema", value={"type": "object"}),
    )
    request = Request(id="r", prompt=(), sampling=sampling, messages=(Message(role="user", content="hi"),))
    path, sent = body.build(request, "m", "https://api.openai.com/v1")
    assert path == "/chat/completions"
    assert sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 5,
        "temperature": 0.3,
        "top_p": 0.9,
        "seed": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"8": -1.0},
        "logprobs": True,
        "n": 2,
        "stop": ["x"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}},
    }


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"top_k": 5}, "top_k"),
        ({"min_p": 0.1}, "min_p"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"num_beams": 2}, "num_beams"),
        ({"constraint": Constraint(kind="regex", value="a")}, "response_format"),
    ],
)
def test_what_the_api_has_no_word_for_is_refused_by_name(make: Make, fields: dict[str, Any], name: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        list(make("words").submit(ask(**fields)))
    assert caught.value.param == name


def test_adapters_and_token_ids_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFeature, match="adapter"):
        body.build(Request(id="r", prompt=(), sampling=Sampling(), text="x", adapter=Adapter(name="a", folder=tmp_path)), "m", "u")
    with pytest.raises(InvalidValue, match="not token ids"):
        list(make("words").submit(Request(id="r", prompt=(1, 2), sampling=Sampling())))


def test_messages_keep_their_tool_calls() -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    said = (Message(role="assistant", tool_calls=(call,)), Message(role="tool", content="4", tool_call_id="c", name="f"))
    _, sent = body.build(Request(id="r", prompt=(), sampling=Sampling(), messages=said), "m", "u")
    assert sent["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "4", "name": "f", "tool_call_id": "c"},
    ]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["data: nonsense"], SourceError),
        (["data: [1]"], SourceError),
        (['data: {"choices": [{"index": 3, "text": "x"}]}'], SourceError),
        ([BAD_CALL], EngineError),
        ([], SourceError),
    ],
)
def test_strange_streams_are_errors(lines: list[str], error: type[LLMOSError]) -> None:
    with pytest.raises(error):
        list(Events(1).chunks(lines))


def test_the_backend_serves_remote_cards_only(tmp_path: Path, endpoint: Endpoint) -> None:
    backend = RemoteBackend()
    assert backend.availability().ok
    assert not backend.supports(tiny.card(Family.CAUSAL)).ok
    card = remote_card("words", endpoint.base_url)
    assert backend.supports(card).features == FEATURES
    options = LoadOptions(num_threads=1, context_length=0)
    engine = backend.load(card, tmp_path, Variant(name="default"), options)
    assert (engine.backend, engine.variant, engine.memory_bytes) == ("remote", "default", 0)
    engine.close()
    with pytest.raises(InvalidValue, match="base_url"):
        backend.load(tiny.card(Family.REMOTE, format_="remote"), tmp_path, Variant(name="default"), options)
