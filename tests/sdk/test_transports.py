"""The SDK does the same in process and over HTTP: one suite, two transports, real models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmos import LLMOS, AsyncLLMOS, Message, Prediction, Tool, errors
from llmos.sdk.model import Model

CHAT = "smollm2-135m-instruct"
ENCODER = "all-minilm-l6-v2"


@pytest.fixture(scope="module", params=["in process", "over HTTP"])
def llmos(request: pytest.FixtureRequest, home: Path) -> Iterator[LLMOS]:
    url = None if request.param == "in process" else request.getfixturevalue("live_server")
    with LLMOS(url, home=home) as made:
        yield made


@pytest.fixture(scope="module")
def model(llmos: LLMOS) -> Model:
    return llmos.load_model(CHAT)


@pytest.fixture(scope="module")
def encoder(llmos: LLMOS) -> Model:
    return llmos.load_model(ENCODER)


def test_text_knows_how_it_came_about(model: Model) -> None:
    text = model.generate_text("The capital of France is", max_tokens=6, temperature=0)
    assert "Paris" in text
    assert text.usage.completion_tokens == 6
    assert text.finish_reason == "length"
    assert text.model == CHAT
    assert "/" in text.engine


def test_a_list_gives_a_list_in_order(model: Model) -> None:
    prompts = ["One, two, three,", "The capital of France is", "The capital of Italy is"]
    alone = [str(model.generate_text(prompt, max_tokens=4, temperature=0)) for prompt in prompts]
    together = model.generate_text(prompts, max_tokens=4, temperature=0)
    assert len(together) == 3
    assert "Paris" in together[1] and "Paris" in alone[1]
    assert "Rome" in together[2] and "Rome" in alone[2]


def test_seeded_choices_repeat(model: Model) -> None:
    first = model.generate_text("Once upon a time", n=3, seed=11, temperature=1.0, max_tokens=8)
    again = model.generate_text("Once upon a time", n=3, seed=11, temperature=1.0, max_tokens=8)
    assert [str(choice) for choice in first.choices] == [str(choice) for choice in again.choices]
    assert len(set(map(str, first.choices))) > 1


def test_stop_text_is_not_part_of_the_answer(model: Model) -> None:
    text = model.generate_text("One, two, three, four,", stop="seven", temperature=0, max_tokens=32)
    assert "seven" not in text and "six" in text
    assert text.finish_reason == "stop"


def test_stream_is_the_same_text_and_leaving_it_cancels(model: Model) -> None:
    whole = model.chat("Count from one to five.", temperature=0, max_tokens=24)
    stream = model.stream(messages="Count from one to five.", temperature=0, max_tokens=24)
    assert "".join(stream) == whole
    assert stream.usage.completion_tokens == whole.usage.completion_tokens
    endless = model.stream("la la la la", temperature=0, max_tokens=2000, ignore_eos=True)
    for _ in endless:
        break
    assert str(model.generate_text("The capital of France is", max_tokens=4, temperature=0))


def test_log_probabilities_with_alternatives(model: Model) -> None:
    text = model.chat([Message(role="user", content="Say yes.")], max_tokens=3, temperature=0, logprobs=4)
    assert len(text.logprobs) == 3
    assert all(entry.logprob <= 0 and len(entry.top) == 4 for entry in text.logprobs)
    assert text.logprobs[0].top[0][1] == pytest.approx(text.logprobs[0].logprob, abs=0.05)


def test_constraints(model: Model) -> None:
    import json
    import re

    schema = {"type": "object", "properties": {"n": {"enum": [1, 2, 3]}}, "required": ["n"], "additionalProperties": False}
    answer = model.chat("Give me a number as JSON.", json_schema=schema, max_tokens=40, temperature=0)
    assert json.loads(answer)["n"] in (1, 2, 3)
    date = model.generate_text("The date is ", regex=r"20\d\d-\d\d-\d\d", max_tokens=20, temperature=0)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", date)


def test_predict_on_both_families(model: Model, encoder: Model) -> None:
    for one in (model, encoder):
        found = one.predict(["I love this film.", "The worst film ever."], ["positive", "negative"])
        assert [round(sum(each.probabilities.values()), 6) for each in found] == [1.0, 1.0]
        assert all(isinstance(each, Prediction) and each.strategy and each.why for each in found)
    assert [each.label for each in found] == ["positive", "negative"]


def test_embed_and_rerank(encoder: Model) -> None:
    vectors = encoder.embed(["a cat", "a kitten", "the stock market"])
    assert vectors.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    ranked = encoder.rerank("a pet", ["the stock market", "a small cat"])
    assert ranked[0].document == "a small cat"


def test_score_orders_what_is_likely(model: Model) -> None:
    likely, unlikely = model.score("The capital of France is", [" Paris", " potato"])
    assert likely.logprob > unlikely.logprob
    assert likely.num_tokens >= 1


def test_tokens_round_trip(model: Model) -> None:
    text = "Grüße, 世界! 🙂"
    assert model.detokenize(model.tokenize(text)) == text


def test_tools_reach_the_template_or_are_refused_by_name(model: Model) -> None:
    tool = Tool(name="weather", description="The weather of a city", parameters={"type": "object", "properties": {}})
    with pytest.raises(errors.UnsupportedFeature) as refused:
        model.chat("How is the weather in Rome?", tools=[tool], max_tokens=8)
    assert refused.value.param == "tools"


def test_errors_name_the_field(llmos: LLMOS, model: Model) -> None:
    with pytest.raises(errors.InvalidValue, match="temperature"):
        model.generate_text("x", temperature=3.0)
    with pytest.raises(errors.InvalidValue, match="temprature"):
        model.generate_text("x", temprature=0.0)  # type: ignore[call-overload]  # the mistake under test
    with pytest.raises(errors.ContextLengthExceeded, match="8192"):
        model.generate_text("word " * 9000, max_tokens=1)
    with pytest.raises(errors.NotFound):
        llmos.load_model("no-such-model-anywhere")


def test_aliases_say_what_they_stand_for(llmos: LLMOS) -> None:
    llmos.set_alias("writer", CHAT, reason="test")
    assert llmos.aliases()["writer"]
    assert llmos.load_model("writer").card.name == CHAT
    stand_in = llmos.load_model("gpt-3")
    assert CHAT in stand_in.notice


def test_alias_history_and_rollback(llmos: LLMOS) -> None:
    llmos.set_alias("moved", CHAT, reason="first")
    llmos.set_alias("moved", ENCODER, reason="second")
    assert [move.reason for move in llmos.alias_history("moved")][:2] == ["second", "first"]
    assert llmos.rollback_alias("moved").startswith(CHAT)
    llmos.remove_alias("moved")
    assert "moved" not in llmos.aliases()


def test_verify_and_gc(llmos: LLMOS) -> None:
    assert all(verdict.ok for verdict in llmos.verify(CHAT))
    assert llmos.gc(dry_run=True).freed_bytes >= 0


def test_library_is_visible(llmos: LLMOS) -> None:
    assert {CHAT, ENCODER} <= {card.name for card in llmos.models()}
    assert llmos.show(CHAT).context_length == 8192
    llmos.load_model(CHAT)
    assert CHAT in {item["name"] for item in llmos.loaded()}


async def test_async_twin(home: Path) -> None:
    async with AsyncLLMOS(home=home) as llmos:
        model = await llmos.load_model(CHAT)
        prompts = ("The capital of France is", "The capital of Italy is")
        texts = await asyncio.gather(*(model.generate_text(prompt, max_tokens=4, temperature=0) for prompt in prompts))
        assert "Paris" in texts[0] and "Rome" in texts[1]
        stream = await model.stream("One, two,", max_tokens=8, temperature=0)
        assert "".join([piece async for piece in stream]) == stream.text != ""
