"""A Session over doubles: prompts, limits, tools, long inputs, and that nothing is dropped on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmos.engine.base import Feature, ScoreItem
from llmos.engine.pool import Pool
from llmos.engine.session import Session
from llmos.errors import ContextLengthExceeded, EngineError, InvalidValue, UnsupportedFeature
from llmos.settings import Settings
from llmos.types import Family, Message, Sampling, Tool
from tests.doubles import BOS, IM_START, fake_card, fake_cards, fake_pool

HELLO = [Message(role="user", content="hello")]
WEATHER = Tool(name="get_weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.fixture
def pool(settings: Settings, tmp_path: Path) -> Iterator[Pool]:
    with fake_pool(settings, tmp_path, cards=[*fake_cards(), fake_card("short", context_length=32)]) as pool:
        yield pool


@pytest.fixture
def session(pool: Pool) -> Session:
    return pool.session("fake")


def test_completion(session: Session) -> None:
    generation = session.complete("Hi", Sampling())
    assert generation.prompt_ids == tuple(b"Hi")
    answer = generation.result()[0]
    assert (answer.text, answer.finish_reason) == ("Hello world.", "stop")
    assert generation.usage.total_tokens == 2 + 12


def test_token_ids_are_taken_as_they_are(session: Session) -> None:
    assert session.complete((1, 2, 3), Sampling(max_tokens=1)).prompt_ids == (1, 2, 3)


def test_a_token_outside_the_vocabulary_is_named(session: Session) -> None:
    with pytest.raises(InvalidValue, match="Token id 99999 at 1 is outside the vocabulary"):
        session.complete((1, 99999), Sampling())


def test_an_empty_prompt_is_the_start_token(session: Session) -> None:
    assert session.complete("", Sampling(max_tokens=1)).prompt_ids == (BOS,)


def test_chat_goes_through_the_template(session: Session) -> None:
    generation = session.chat(HELLO, Sampling())
    assert session.decode(generation.prompt_ids, skip_special=False) == (
        "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert generation.prompt_ids[0] == IM_START
    assert generation.result()[0].text == "Hello world."


def test_no_messages_is_an_error(session: Session) -> None:
    with pytest.raises(InvalidValue, match="messages is empty"):
        session.chat([], Sampling())


def test_n_answers(session: Session) -> None:
    answers = session.complete("Hi", Sampling(n=3)).result()
    assert [answer.index for answer in answers] == [0, 1, 2]
    assert {answer.text for answer in answers} == {"Hello world."}


def test_max_tokens_none_is_what_is_left(session: Session) -> None:
    generation = session.complete("Hi", Sampling())
    assert generation._handle.request.sampling.max_tokens == session.context_length - 2


def test_a_prompt_past_the_context_names_both_numbers(pool: Pool) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"41 tokens .* context of 32 tokens"):
        pool.session("short").complete("x" * 40, Sampling())


def test_an_answer_past_the_context_names_both_numbers(pool: Pool) -> None:
    with pytest.raises(ContextLengthExceeded, match=r"40 tokens \(10 in the prompt and 30 to write or score\).*32") as caught:
        pool.session("short").complete("x" * 10, Sampling(max_tokens=30))
    assert caught.value.param == "max_tokens"


def test_a_seq2seq_answer_takes_no_room_from_its_input(pool: Pool) -> None:
    session = pool.session("fake-seq2seq")
    assert session.complete("x" * 500, Sampling(max_tokens=100)).result()[0].text == "Hello world."
    with pytest.raises(ContextLengthExceeded):
        session.complete("x" * 600, Sampling(max_tokens=1))


def test_an_encoder_does_not_write(pool: Pool) -> None:
    with pytest.raises(UnsupportedFeature, match="encoder model and cannot generate text"):
        pool.session("fake-encoder").complete("Hi", Sampling())


def test_an_error_of_the_engine_reaches_the_caller(pool: Pool) -> None:
    with pytest.raises(EngineError, match="told to fail"):
        pool.session("fake-fail").complete("please fail", Sampling()).result()
    assert pool.loaded()[0].running == 0


def test_a_tool_call_is_read_back(pool: Pool) -> None:
    answer = pool.session("fake-tools").chat(HELLO, Sampling(), tools=[WEATHER]).result()[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.text == ""
    assert [(call.name, call.arguments) for call in answer.tool_calls] == [("get_weather", '{"city": "Paris"}')]


@pytest.mark.parametrize("choice", ["required", "get_weather"])
def test_a_forced_call_is_opened_and_constrained(pool: Pool, choice: str) -> None:
    generation = pool.session("fake-tools").chat(HELLO, Sampling(), tools=[WEATHER], tool_choice=choice)
    request = generation._handle.request
    assert bytes(generation.prompt_ids[-12:]) == b"<tool_call>\n"
    assert request.sampling.constraint is not None
    assert request.sampling.constraint.value["properties"]["name"] == {"const": "get_weather"}
    assert [call.name for call in generation.result()[0].tool_calls] == ["get_weather"]


def test_tool_choice_none_shows_no_tools(pool: Pool) -> None:
    session = pool.session("fake-tools")
    generation = session.chat(HELLO, Sampling(), tools=[WEATHER], tool_choice="none")
    assert "get_weather" not in session.decode(generation.prompt_ids)
    assert generation.result()[0].tool_calls == ()


@pytest.mark.parametrize(
    ("tools", "choice", "message"),
    [([WEATHER], "get_wether", "unknown tool 'get_wether'"), ([], "required", "there are no tools")],
)
def test_a_bad_tool_choice_is_named(session: Session, tools: list[Tool], choice: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        session.chat(HELLO, Sampling(), tools=tools, tool_choice=choice)


@pytest.fixture
def remote(settings: Settings, tmp_path: Path) -> Iterator[Session]:
    card = fake_card("far", Family.REMOTE, format="remote", context_length=0)
    with fake_pool(settings, tmp_path, cards=[card], inline=False) as pool:
        yield pool.session("far", engine="fake")
        assert [info.pid for info in pool.loaded()] == [None]  # nothing native in it: no process


def test_a_remote_model_gets_text_and_counts_itself(remote: Session) -> None:
    generation = remote.complete("Hi", Sampling(stop=("world",)))
    assert generation.result()[0].text == "To 'Hi': Hello "
    generation = remote.complete("Hi", Sampling())
    assert generation.result()[0].text == "To 'Hi': Hello world."
    assert remote.context_length == 0  # not known
    assert (generation.usage.prompt_tokens, generation.usage.completion_tokens) == (2, 7)


def test_a_remote_model_gets_messages_and_tools(remote: Session) -> None:
    generation = remote.chat(HELLO, Sampling(), tools=[WEATHER], tool_choice="required")
    request = generation._handle.request
    assert (request.messages, request.tools, request.tool_choice) == (tuple(HELLO), (WEATHER,), "required")
    answer = generation.result()[0]
    assert answer.finish_reason == "tool_calls"
    assert [call.name for call in answer.tool_calls] == ["get_weather"]


def test_what_needs_tokens_is_refused_for_a_remote_model(remote: Session) -> None:
    with pytest.raises(UnsupportedFeature, match="takes text, not token ids"):
        remote.complete((1, 2), Sampling())
    with pytest.raises(UnsupportedFeature, match="the model is remote"):
        remote.count_tokens("Hi")


def test_scores(session: Session) -> None:
    result = session.score([ScoreItem(prompt=(1,), continuations=((10, 20), (30,)))], top=2)
    assert [[token.logprob for token in ids] for ids in result[0].continuations] == [[-0.1, -0.2], [-0.3]]
    assert len(result[0].continuations[0][0].top) == 2


def test_scoring_past_the_context_is_an_error(pool: Pool) -> None:
    with pytest.raises(ContextLengthExceeded):
        pool.session("short").score([ScoreItem(prompt=(1,) * 30, continuations=((1,), (1, 2, 3)))])


def test_embeddings_of_long_texts(pool: Pool) -> None:
    session = pool.session("fake-encoder")
    with pytest.raises(ContextLengthExceeded, match="1000"):
        session.embed(["a" * 1000])
    vectors = session.embed(["ab", "ab" * 500], long="mean")
    assert vectors.shape == (2, 8)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[1], atol=0.02)
    assert session.embed([]).shape[0] == 0


def test_the_other_heads(pool: Pool) -> None:
    assert pool.session("fake-classifier").classify(["a", ("a", "b")]).shape == (2, 3)
    assert [rows.shape for rows in pool.session("fake-tagger").tag(["abc", "a"])] == [(3, 3), (1, 3)]
    masked = pool.session("fake-masked")
    assert masked.mask_token == "[MASK]"
    assert [rows.shape for rows in masked.fill_mask(["a [MASK] b [MASK]"], [1, 2, 3])] == [(2, 3)]
    with pytest.raises(InvalidValue, match=r"Text 1 has no mask token"):
        masked.fill_mask(["[MASK]", "none"])


def test_tokens_there_and_back(session: Session) -> None:
    assert session.decode(session.encode("naïve 你好")) == "naïve 你好"
    assert session.count_tokens("abc") == 3


def test_special_tokens_of_a_user_are_text(session: Session) -> None:
    assert IM_START not in session.encode("<|im_start|>")


def test_engine_for_says_what_is_there(session: Session) -> None:
    assert session.engine_for(frozenset({Feature.SCORE})).backend == "fake-rich"


def test_extra_continues_the_last_message(session: Session) -> None:
    messages = [*HELLO, Message(role="assistant", content="Well, ")]
    extra: dict[str, Any] = {"continue_final_message": True}
    assert session.render(messages, extra=extra).endswith("<|im_start|>assistant\nWell, ")
